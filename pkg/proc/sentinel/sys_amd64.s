#include "textflag.h"

// func sys(nr, a, b, c, d uintptr) (uintptr, syscall.Errno)
TEXT ·sys(SB),NOSPLIT,$0-56
	MOVQ	nr+0(FP), AX
	MOVQ	a+8(FP), DI
	MOVQ	b+16(FP), SI
	MOVQ	c+24(FP), DX
	MOVQ	d+32(FP), R10
	XORQ	R8, R8
	XORQ	R9, R9
	SYSCALL
	XORQ	CX, CX
	CMPQ	AX, $-4095
	JCS	done
	NEGQ	AX
	MOVQ	AX, CX
	MOVQ	$-1, AX
done:
	MOVQ	AX, ret+40(FP)
	MOVQ	CX, ret1+48(FP)
	RET

// func clone(flags, tls uintptr) (uintptr, syscall.Errno)
TEXT ·clone(SB),NOSPLIT,$0-32
	MOVQ	flags+0(FP), DI
	XORQ	SI, SI
	XORQ	DX, DX
	XORQ	R10, R10
	MOVQ	tls+8(FP), R8
	MOVQ	$56, AX
	SYSCALL
	XORQ	CX, CX
	CMPQ	AX, $-4095
	JCS	done
	NEGQ	AX
	MOVQ	AX, CX
	MOVQ	$-1, AX
done:
	MOVQ	AX, ret+16(FP)
	MOVQ	CX, ret1+24(FP)
	RET

// func execat(fd, none, argv, envp uintptr)
TEXT ·execat(SB),NOSPLIT,$0-32
	MOVQ	fd+0(FP), DI
	MOVQ	none+8(FP), SI
	MOVQ	argv+16(FP), DX
	MOVQ	envp+24(FP), R10
	MOVQ	$0x1000, R8	// AT_EMPTY_PATH
	MOVQ	$322, AX	// execveat
	SYSCALL
	RET
