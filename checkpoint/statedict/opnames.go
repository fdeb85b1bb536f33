package statedict

import (
	"fmt"
	"strings"
)

// opNames are the operations of pickles up to protocol 5, as a byte and a name each; for errors.
var opNames = func() (names [256]string) {
	const all = `(MARK .STOP 0POP 1POP_MARK 2DUP FFLOAT IINT JBININT KBININT1 LLONG MBININT2 NNONE PPERSID QBINPERSID RREDUCE SSTRING TBINSTRING
		USHORT_BINSTRING VUNICODE XBINUNICODE aAPPEND bBUILD cGLOBAL dDICT }EMPTY_DICT eAPPENDS gGET hBINGET iINST jLONG_BINGET lLIST ]EMPTY_LIST
		oOBJ pPUT qBINPUT rLONG_BINPUT sSETITEM tTUPLE )EMPTY_TUPLE uSETITEMS GBINFLOAT BBINBYTES CSHORT_BINBYTES`
	for _, n := range strings.Fields(all) {
		names[n[0]] = n[1:]
	}
	for i, n := range strings.Fields(`PROTO NEWOBJ EXT1 EXT2 EXT4 TUPLE1 TUPLE2 TUPLE3 NEWTRUE NEWFALSE LONG1 LONG4 SHORT_BINUNICODE BINUNICODE8 BINBYTES8
		EMPTY_SET ADDITEMS FROZENSET NEWOBJ_EX STACK_GLOBAL MEMOIZE FRAME BYTEARRAY8 NEXT_BUFFER READONLY_BUFFER`) {
		names[0x80+i] = n
	}
	return names
}()

func opName(op byte) string {
	if opNames[op] == "" {
		return fmt.Sprintf("%#02x, which is none", op)
	}
	return opNames[op]
}
