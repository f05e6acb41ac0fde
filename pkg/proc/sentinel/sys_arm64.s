#include "textflag.h"

// func sys(nr, a, b, c, d uintptr) (uintptr, syscall.Errno)
TEXT ·sys(SB),NOSPLIT,$0-56
	MOVD	nr+0(FP), R8
	MOVD	a+8(FP), R0
	MOVD	b+16(FP), R1
	MOVD	c+24(FP), R2
	MOVD	d+32(FP), R3
	MOVD	$0, R4
	MOVD	$0, R5
	SVC
	MOVD	$0, R6
	CMN	$4095, R0
	BCC	done
	NEG	R0, R6
	MOVD	$-1, R0
done:
	MOVD	R0, ret+40(FP)
	MOVD	R6, ret1+48(FP)
	RET

// func execat(fd, none, argv, envp uintptr)
TEXT ·execat(SB),NOSPLIT,$0-32
	MOVD	fd+0(FP), R0
	MOVD	none+8(FP), R1
	MOVD	argv+16(FP), R2
	MOVD	envp+24(FP), R3
	MOVD	$0x1000, R4	// AT_EMPTY_PATH
	MOVD	$281, R8	// execveat
	SVC
	RET
