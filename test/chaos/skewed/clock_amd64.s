//go:build chaos_clock

#include "textflag.h"

// entry() uintptr
TEXT ·entry(SB),NOSPLIT,$0-8
	LEAQ	·clockGettime(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// int clock_gettime(clockid_t DI, struct timespec *SI), by the rules of C: DI and SI may change, BX, BP and R12 to R15 may not.
TEXT ·clockGettime(SB),NOSPLIT|NOFRAME,$0-0
	PUSHQ	DI
	PUSHQ	SI
	SUBQ	$8, SP		// C wants the stack in steps of 16
	MOVQ	·kernel(SB), AX
	CALL	AX
	ADDQ	$8, SP
	POPQ	SI
	POPQ	DI
	CMPL	DI, $0		// the wall clock alone
	JNE	done
	MOVQ	·offset(SB), DX
	MOVQ	(DX), AX	// nanoseconds
	CQO			// DX:AX
	MOVQ	$1000000000, CX
	IDIVQ	CX		// AX seconds, DX nanoseconds of the same sign
	ADDQ	AX, 0(SI)
	ADDQ	DX, 8(SI)
	CMPQ	8(SI), $0
	JGE	high
	SUBQ	$1, 0(SI)
	ADDQ	CX, 8(SI)
high:
	CMPQ	8(SI), CX
	JLT	zero
	ADDQ	$1, 0(SI)
	SUBQ	CX, 8(SI)
zero:
	XORL	AX, AX
done:
	RET
