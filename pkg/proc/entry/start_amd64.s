#include "textflag.h"

#define SYS_write	1
#define SYS_close	3
#define SYS_rt_sigprocmask	14
#define SYS_nanosleep	35
#define SYS_clone	56
#define SYS_exit	60
#define SYS_futex	202
#define SYS_exit_group	231
#define SYS_epoll_create1	291
#define SYS_prlimit64	302

// What is true of conch_entry is true here.
TEXT conch_start(SB),NOSPLIT|NOFRAME,$0
	MOVQ	DX, R12

	// Each limit has its number, the least, and the address and length of what is
	// said: four words.
	LEAQ	·limits(SB), R14
	MOVQ	·limitCount(SB), R15
bound:
	XORQ	DI, DI
	MOVQ	0(R14), SI
	XORQ	DX, DX
	LEAQ	·limit(SB), R10
	MOVQ	$SYS_prlimit64, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	enough
	MOVQ	·limit(SB), AX
	CMPQ	AX, 8(R14)
	JCC	enough
	MOVQ	16(R14), SI
	MOVQ	24(R14), DX
	MOVQ	$78, R13
	JMP	refuse
enough:
	ADDQ	$32, R14
	DECQ	R15
	JNE	bound

	// So many descriptors at once, up to the hard limit, as the runtime will have it.
	XORQ	DI, DI
	MOVQ	$7, SI
	XORQ	DX, DX
	LEAQ	·limit(SB), R10
	MOVQ	$SYS_prlimit64, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	opened
	MOVQ	·limit(SB), R13
	MOVQ	·limit+8(SB), AX
	MOVQ	AX, ·limit(SB)
	XORQ	DI, DI
	MOVQ	$7, SI
	LEAQ	·limit(SB), DX
	XORQ	R10, R10
	MOVQ	$SYS_prlimit64, AX
	SYSCALL
	LEAQ	·files(SB), R14
	MOVQ	·fileCount(SB), R15
file:
	MOVQ	$0x80000, DI	// EPOLL_CLOEXEC
	MOVQ	$SYS_epoll_create1, AX
	SYSCALL
	CMPQ	AX, $-24	// EMFILE
	JEQ	fewFiles
	MOVQ	AX, (R14)
	ADDQ	$8, R14
	DECQ	R15
	JNE	file
	MOVQ	·fileCount(SB), R15
close:
	SUBQ	$8, R14
	MOVQ	(R14), DI
	MOVQ	$SYS_close, AX
	SYSCALL
	DECQ	R15
	JNE	close
	MOVQ	R13, ·limit(SB)
	XORQ	DI, DI
	MOVQ	$7, SI
	LEAQ	·limit(SB), DX
	XORQ	R10, R10
	MOVQ	$SYS_prlimit64, AX
	SYSCALL
opened:

	// So many threads at once, each of which waits for the gate. They share our
	// stack, and touch it no more than we do; so no signal may find one of them, which
	// may still be about to end when the runtime has its handlers. One that cannot be
	// made is tried again, as by the runtime.
	MOVQ	$2, DI		// SIG_SETMASK
	LEAQ	·everything(SB), SI
	LEAQ	·before(SB), DX
	MOVQ	$8, R10
	MOVQ	$SYS_rt_sigprocmask, AX
	SYSCALL
	MOVQ	·threads(SB), R14
	MOVQ	$20, R15
thread:
	MOVQ	$0x50f00, DI	// CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM
	XORQ	SI, SI
	XORQ	DX, DX
	XORQ	R10, R10
	XORQ	R8, R8
	MOVQ	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JEQ	spare
	CMPQ	AX, $-11	// EAGAIN
	JNE	made
	DECQ	R15
	JEQ	few
	LEAQ	·pause(SB), DI
	XORQ	SI, SI
	MOVQ	$SYS_nanosleep, AX
	SYSCALL
	JMP	thread
made:
	DECQ	R14
	JNE	thread
	MOVQ	$2, DI
	LEAQ	·before(SB), SI
	XORQ	DX, DX
	MOVQ	$8, R10
	MOVQ	$SYS_rt_sigprocmask, AX
	SYSCALL
	MOVL	$1, ·gate(SB)
	LEAQ	·gate(SB), DI
	MOVQ	$129, SI	// FUTEX_WAKE|FUTEX_PRIVATE_FLAG
	MOVQ	$64, DX
	MOVQ	$SYS_futex, AX
	SYSCALL

	// A variable of the runtime's gets an empty value, and the old one is noted.
	MOVQ	0(SP), AX
	LEAQ	16(SP)(AX*8), R13
variable:
	MOVQ	(R13), R14
	TESTQ	R14, R14
	JEQ	entry
	LEAQ	·settings(SB), R8
	MOVQ	·settingCount(SB), R9
setting:
	MOVQ	0(R8), R10
	MOVQ	R14, R11
letter:
	MOVB	(R10), AX
	TESTB	AX, AX
	JEQ	found
	CMPB	AX, (R11)
	JNE	differs
	INCQ	R10
	INCQ	R11
	JMP	letter
differs:
	ADDQ	$24, R8
	DECQ	R9
	JNE	setting
	JMP	following
found:
	MOVQ	0(R8), AX
	MOVQ	AX, (R13)
	CMPQ	16(R8), $0	// of two, the first one counts
	JNE	following
	MOVQ	R11, 16(R8)
following:
	ADDQ	$8, R13
	JMP	variable
entry:
	MOVQ	R12, DX
	JMP	conch_entry(SB)

spare:
	LEAQ	·gate(SB), DI
	MOVQ	$128, SI	// FUTEX_WAIT|FUTEX_PRIVATE_FLAG
	XORQ	DX, DX
	XORQ	R10, R10
	MOVQ	$SYS_futex, AX
	SYSCALL
	CMPL	·gate(SB), $0
	JEQ	spare
	XORQ	DI, DI
	MOVQ	$SYS_exit, AX
	SYSCALL

few:
	MOVQ	·fewThreads+0(SB), SI
	MOVQ	·fewThreads+8(SB), DX
	MOVQ	$70, R13
	JMP	refuse
fewFiles:
	MOVQ	·fewFiles+0(SB), SI
	MOVQ	·fewFiles+8(SB), DX
	MOVQ	$78, R13
refuse:
	MOVQ	$2, DI
	MOVQ	$SYS_write, AX
	SYSCALL
	MOVQ	R13, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
