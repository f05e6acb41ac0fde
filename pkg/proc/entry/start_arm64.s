#include "textflag.h"

#define SYS_epoll_create1	20
#define SYS_close	57
#define SYS_write	64
#define SYS_exit	93
#define SYS_exit_group	94
#define SYS_futex	98
#define SYS_nanosleep	101
#define SYS_rt_sigprocmask	135
#define SYS_clone	220
#define SYS_prlimit64	261

// What is true of conch_entry is true here.
TEXT conch_start(SB),NOSPLIT|NOFRAME,$0
	MOVD	R0, R20

	// Each limit has its number, the least, and the address and length of what is
	// said: four words.
	MOVD	$·limits(SB), R19
	MOVD	·limitCount(SB), R22
bound:
	MOVD	$0, R0
	MOVD	0(R19), R1
	MOVD	$0, R2
	MOVD	$·limit(SB), R3
	MOVD	$SYS_prlimit64, R8
	SVC
	CBNZ	R0, enough
	MOVD	·limit(SB), R5
	MOVD	8(R19), R6
	CMP	R6, R5
	BHS	enough
	MOVD	16(R19), R1
	MOVD	24(R19), R2
	MOVD	$78, R19
	B	refuse
enough:
	ADD	$32, R19
	SUB	$1, R22
	CBNZ	R22, bound

	// So many descriptors at once, up to the hard limit, as the runtime will have it.
	MOVD	$0, R0
	MOVD	$7, R1
	MOVD	$0, R2
	MOVD	$·limit(SB), R3
	MOVD	$SYS_prlimit64, R8
	SVC
	CBNZ	R0, opened
	MOVD	·limit(SB), R21
	MOVD	·limit+8(SB), R4
	MOVD	R4, ·limit(SB)
	MOVD	$0, R0
	MOVD	$7, R1
	MOVD	$·limit(SB), R2
	MOVD	$0, R3
	MOVD	$SYS_prlimit64, R8
	SVC
	MOVD	$·files(SB), R19
	MOVD	·fileCount(SB), R22
file:
	MOVD	$0x80000, R0	// EPOLL_CLOEXEC
	MOVD	$SYS_epoll_create1, R8
	SVC
	CMN	$24, R0		// EMFILE
	BEQ	fewFiles
	MOVD	R0, (R19)
	ADD	$8, R19
	SUB	$1, R22
	CBNZ	R22, file
	MOVD	·fileCount(SB), R22
close:
	SUB	$8, R19
	MOVD	(R19), R0
	MOVD	$SYS_close, R8
	SVC
	SUB	$1, R22
	CBNZ	R22, close
	MOVD	R21, ·limit(SB)
	MOVD	$0, R0
	MOVD	$7, R1
	MOVD	$·limit(SB), R2
	MOVD	$0, R3
	MOVD	$SYS_prlimit64, R8
	SVC
opened:

	// So many threads at once, each of which waits for the gate. They share our
	// stack, and touch it no more than we do; so no signal may find one of them, which
	// may still be about to end when the runtime has its handlers. One that cannot be
	// made is tried again, as by the runtime.
	MOVD	$2, R0		// SIG_SETMASK
	MOVD	$·everything(SB), R1
	MOVD	$·before(SB), R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	MOVD	·threads(SB), R19
	MOVD	$20, R22
thread:
	MOVD	$0x50f00, R0	// CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, spare
	CMN	$11, R0		// EAGAIN
	BNE	made
	SUB	$1, R22
	CBZ	R22, few
	MOVD	$·pause(SB), R0
	MOVD	$0, R1
	MOVD	$SYS_nanosleep, R8
	SVC
	B	thread
made:
	SUB	$1, R19
	CBNZ	R19, thread
	MOVD	$2, R0
	MOVD	$·before(SB), R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	MOVD	$1, R1
	MOVW	R1, ·gate(SB)
	MOVD	$·gate(SB), R0
	MOVD	$129, R1	// FUTEX_WAKE|FUTEX_PRIVATE_FLAG
	MOVD	$64, R2
	MOVD	$SYS_futex, R8
	SVC

	// A variable of the runtime's gets an empty value, and the old one is noted.
	MOVD	0(RSP), R0
	ADD	$16, RSP, R1
	ADD	R0<<3, R1, R19
variable:
	MOVD	(R19), R1
	CBZ	R1, entry
	MOVD	$·settings(SB), R2
	MOVD	·settingCount(SB), R3
setting:
	MOVD	0(R2), R4
	MOVD	R1, R5
letter:
	MOVBU	(R4), R6
	CBZ	R6, found
	MOVBU	(R5), R7
	CMP	R6, R7
	BNE	differs
	ADD	$1, R4
	ADD	$1, R5
	B	letter
differs:
	ADD	$24, R2
	SUB	$1, R3
	CBNZ	R3, setting
	B	following
found:
	MOVD	0(R2), R4
	MOVD	R4, (R19)
	MOVD	16(R2), R6
	CBNZ	R6, following	// of two, the first one counts
	MOVD	R5, 16(R2)
following:
	ADD	$8, R19
	B	variable
entry:
	MOVD	R20, R0
	B	conch_entry(SB)

spare:
	MOVD	$·gate(SB), R0
	MOVD	$128, R1	// FUTEX_WAIT|FUTEX_PRIVATE_FLAG
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$SYS_futex, R8
	SVC
	MOVW	·gate(SB), R1
	CBZ	R1, spare
	MOVD	$0, R0
	MOVD	$SYS_exit, R8
	SVC

few:
	MOVD	·fewThreads+0(SB), R1
	MOVD	·fewThreads+8(SB), R2
	MOVD	$70, R19
	B	refuse
fewFiles:
	MOVD	·fewFiles+0(SB), R1
	MOVD	·fewFiles+8(SB), R2
	MOVD	$78, R19
refuse:
	MOVD	$2, R0
	MOVD	$SYS_write, R8
	SVC
	MOVD	R19, R0
	MOVD	$SYS_exit_group, R8
	SVC
