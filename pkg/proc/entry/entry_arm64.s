#include "textflag.h"

#define SYS_fcntl	25
#define SYS_rt_sigaction	134
#define SYS_rt_sigprocmask	135
#define SYS_prlimit64	261

// The kernel starts us with argc at 0(RSP), which may not be touched. A system
// call keeps every register but R0.
TEXT conch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD	R0, R20
	MOVD	$1, R19
	MOVD	$0, R21
signal:
	// rt_sigaction(n, NULL, &scratch, 8)
	MOVD	R19, R0
	MOVD	$0, R1
	MOVD	$·scratch(SB), R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigaction, R8
	SVC
	CBNZ	R0, next
	MOVD	·scratch(SB), R4
	CMP	$1, R4			// SIG_IGN
	BNE	next
	SUB	$1, R19, R5
	MOVD	$1, R6
	LSL	R5, R6, R6
	ORR	R6, R21, R21
next:
	ADD	$1, R19, R19
	CMP	$64, R19
	BLE	signal
	MOVD	R21, ·ignored(SB)

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	MOVD	$0, R0
	MOVD	$0, R1
	MOVD	$·mask(SB), R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

	// prlimit64(0, RLIMIT_NOFILE, NULL, &nofile)
	MOVD	$0, R0
	MOVD	$7, R1
	MOVD	$0, R2
	MOVD	$·nofile(SB), R3
	MOVD	$SYS_prlimit64, R8
	SVC

	// fcntl(fd, F_GETFD) fails with EBADF for a closed descriptor.
	MOVD	$·closed(SB), R22
	MOVD	$0, R19
	MOVD	$1, R23
descriptor:
	MOVD	R19, R0
	MOVD	$1, R1
	MOVD	$0, R2
	MOVD	$SYS_fcntl, R8
	SVC
	CMN	$9, R0
	BNE	open
	MOVD	R23, (R22)
open:
	ADD	$8, R22, R22
	ADD	$1, R19, R19
	CMP	$3, R19
	BLT	descriptor

	MOVD	R23, ·ran(SB)
	MOVD	R20, R0
	JMP	_rt0_arm64_linux(SB)
