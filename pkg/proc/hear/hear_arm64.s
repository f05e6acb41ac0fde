#include "textflag.h"

#define SYS_write	64
#define SYS_tgkill	131
#define SYS_rt_sigaction	134
#define SYS_getpid	172
#define SYS_gettid	178

// The kernel calls it with the signal in R0, the siginfo in R1 and the context in
// R2, to return to its own rt_sigreturn. It may change any register: the context has
// them. All signals are blocked.
TEXT handler<>(SB),NOSPLIT|NOFRAME,$0
	MOVW	8(R1), R3		// si_code: above 0 it is the kernel's
	CMPW	$0, R3
	BLE	sent
	MOVD	$·before(SB), R4
	MOVD	(R4)(R0<<3), R4
	CBZ	R4, sent
	JMP	(R4)
sent:
	MOVD	·heard(SB), R3
	SUB	$1, R0, R4
	LSR	R4, R3, R3
	TBZ	$0, R3, die
	// write(pipe, info, 128)
	MOVW	·pipe(SB), R0
	MOVD	$128, R2
	MOVD	$SYS_write, R8
	SVC
	RET
die:
	// It is sent again, to be died of on return. A system call keeps every
	// register but R0.
	MOVD	R0, R19
	// rt_sigaction(sig, &plain, NULL, 8)
	MOVD	$·plain(SB), R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigaction, R8
	SVC
	MOVD	$SYS_getpid, R8
	SVC
	MOVD	R0, R20
	MOVD	$SYS_gettid, R8
	SVC
	// tgkill(pid, tid, sig)
	MOVD	R0, R1
	MOVD	R20, R0
	MOVD	R19, R2
	MOVD	$SYS_tgkill, R8
	SVC
	RET

DATA	·handlerPC(SB)/8, $handler<>(SB)
GLOBL	·handlerPC(SB), NOPTR, $8
GLOBL	·restorerPC(SB), NOPTR, $8
