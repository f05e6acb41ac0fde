#include "textflag.h"

#define SYS_write	1
#define SYS_rt_sigaction	13
#define SYS_rt_sigreturn	15
#define SYS_getpid	39
#define SYS_gettid	186
#define SYS_tgkill	234

// The kernel calls it with the signal in DI, the siginfo in SI and the context in
// DX. It may change any register: the context has them. All signals are blocked.
TEXT handler<>(SB),NOSPLIT|NOFRAME,$0
	CMPL	8(SI), $0		// si_code: above 0 it is the kernel's
	JLE	sent
	MOVL	DI, CX
	LEAQ	·before(SB), R8
	MOVQ	(R8)(CX*8), R8
	TESTQ	R8, R8
	JEQ	sent
	JMP	R8
sent:
	MOVQ	·heard(SB), AX
	LEAL	-1(DI), CX
	BTQ	CX, AX
	JCC	die
	// write(pipe, info, 128)
	MOVL	·pipe(SB), DI
	MOVL	$128, DX
	MOVL	$SYS_write, AX
	SYSCALL
	RET
die:
	// It is sent again, to be died of on return. A system call keeps every
	// register but AX, CX and R11.
	MOVL	DI, R12
	// rt_sigaction(sig, &plain, NULL, 8)
	LEAQ	·plain(SB), SI
	XORL	DX, DX
	MOVL	$8, R10
	MOVL	$SYS_rt_sigaction, AX
	SYSCALL
	MOVL	$SYS_getpid, AX
	SYSCALL
	MOVL	AX, R13
	MOVL	$SYS_gettid, AX
	SYSCALL
	// tgkill(pid, tid, sig)
	MOVL	R13, DI
	MOVL	AX, SI
	MOVL	R12, DX
	MOVL	$SYS_tgkill, AX
	SYSCALL
	RET

// Where the handler returns to.
TEXT restorer<>(SB),NOSPLIT|NOFRAME,$0
	MOVL	$SYS_rt_sigreturn, AX
	SYSCALL
	INT	$3			// not reached

DATA	·handlerPC(SB)/8, $handler<>(SB)
GLOBL	·handlerPC(SB), NOPTR, $8
DATA	·restorerPC(SB)/8, $restorer<>(SB)
GLOBL	·restorerPC(SB), NOPTR, $8
