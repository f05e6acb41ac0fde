#include "textflag.h"

#define SYS_rt_sigaction	13
#define SYS_rt_sigprocmask	14
#define SYS_fcntl	72
#define SYS_prlimit64	302

// The kernel, or the dynamic linker, starts us with argc at 0(SP) and a
// function to run at exit in DX: neither may be touched. A system call keeps
// every register but AX, CX and R11.
TEXT conch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ	DX, R12
	MOVQ	$1, R13
signal:
	// rt_sigaction(n, NULL, &scratch, 8)
	MOVQ	R13, DI
	XORQ	SI, SI
	LEAQ	·scratch(SB), DX
	MOVQ	$8, R10
	MOVQ	$SYS_rt_sigaction, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	next
	CMPQ	·scratch(SB), $1	// SIG_IGN
	JNE	next
	MOVQ	R13, CX
	DECQ	CX
	MOVQ	$1, AX
	SHLQ	CX, AX
	ORQ	AX, ·ignored(SB)
next:
	INCQ	R13
	CMPQ	R13, $64
	JLE	signal

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	XORQ	DI, DI
	XORQ	SI, SI
	LEAQ	·mask(SB), DX
	MOVQ	$8, R10
	MOVQ	$SYS_rt_sigprocmask, AX
	SYSCALL

	// prlimit64(0, RLIMIT_NOFILE, NULL, &nofile)
	XORQ	DI, DI
	MOVQ	$7, SI
	XORQ	DX, DX
	LEAQ	·nofile(SB), R10
	MOVQ	$SYS_prlimit64, AX
	SYSCALL

	// fcntl(fd, F_GETFD) fails with EBADF for a closed descriptor.
	LEAQ	·closed(SB), R14
	XORQ	R13, R13
descriptor:
	MOVQ	R13, DI
	MOVQ	$1, SI
	XORQ	DX, DX
	MOVQ	$SYS_fcntl, AX
	SYSCALL
	CMPQ	AX, $-9
	JNE	open
	MOVQ	$1, (R14)(R13*8)
open:
	INCQ	R13
	CMPQ	R13, $3
	JLT	descriptor

	MOVQ	$1, ·ran(SB)
	MOVQ	R12, DX
	JMP	_rt0_amd64_linux(SB)
