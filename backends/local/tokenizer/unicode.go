package tokenizer

import "unicode"

// What came between Unicode 15, whose tables Go has, and 16, by category and for
// Han, as tokenizers 0.23 has it (asked of each character). Letters and digits stand in
// internal/pieces.
var newMarks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x897, Hi: 0x897, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10d69, Hi: 0x10d6d, Stride: 1}, {Lo: 0x10efc, Hi: 0x10efc, Stride: 1}, {Lo: 0x113b8, Hi: 0x113c0, Stride: 1},
		{Lo: 0x113c2, Hi: 0x113c2, Stride: 1}, {Lo: 0x113c5, Hi: 0x113c5, Stride: 1}, {Lo: 0x113c7, Hi: 0x113ca, Stride: 1},
		{Lo: 0x113cc, Hi: 0x113d0, Stride: 1}, {Lo: 0x113d2, Hi: 0x113d2, Stride: 1}, {Lo: 0x113e1, Hi: 0x113e2, Stride: 1},
		{Lo: 0x11f5a, Hi: 0x11f5a, Stride: 1}, {Lo: 0x1611e, Hi: 0x1612f, Stride: 1}, {Lo: 0x1e5ee, Hi: 0x1e5ef, Stride: 1},
	},
}

var newPunctuation = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1b4e, Hi: 0x1b4f, Stride: 1}, {Lo: 0x1b7f, Hi: 0x1b7f, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10d6e, Hi: 0x10d6e, Stride: 1}, {Lo: 0x113d4, Hi: 0x113d5, Stride: 1}, {Lo: 0x113d7, Hi: 0x113d8, Stride: 1},
		{Lo: 0x11be1, Hi: 0x11be1, Stride: 1}, {Lo: 0x16d6d, Hi: 0x16d6f, Stride: 1}, {Lo: 0x1e5ff, Hi: 0x1e5ff, Stride: 1},
	},
}

var newSymbols = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x2427, Hi: 0x2429, Stride: 1}, {Lo: 0x2ffc, Hi: 0x2fff, Stride: 1}, {Lo: 0x31e4, Hi: 0x31e5, Stride: 1},
		{Lo: 0x31ef, Hi: 0x31ef, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10d8e, Hi: 0x10d8f, Stride: 1}, {Lo: 0x1cc00, Hi: 0x1ccef, Stride: 1}, {Lo: 0x1cd00, Hi: 0x1ceb3, Stride: 1},
		{Lo: 0x1f8b2, Hi: 0x1f8bb, Stride: 1}, {Lo: 0x1f8c0, Hi: 0x1f8c1, Stride: 1}, {Lo: 0x1fa89, Hi: 0x1fa89, Stride: 1},
		{Lo: 0x1fa8f, Hi: 0x1fa8f, Stride: 1}, {Lo: 0x1fabe, Hi: 0x1fabe, Stride: 1}, {Lo: 0x1fac6, Hi: 0x1fac6, Stride: 1},
		{Lo: 0x1fadc, Hi: 0x1fadc, Stride: 1}, {Lo: 0x1fadf, Hi: 0x1fadf, Stride: 1}, {Lo: 0x1fae9, Hi: 0x1fae9, Stride: 1},
		{Lo: 0x1fbcb, Hi: 0x1fbef, Stride: 1},
	},
}

var newHan = &unicode.RangeTable{
	R32: []unicode.Range32{
		{Lo: 0x2ebf0, Hi: 0x2ee5d, Stride: 1},
	},
}

// laterPunctuation are the characters of category P that tokenizers 0.23 does not
// count as such (asked of each character); two that have left the category still
// count there, U+166D and U+111C9.
var laterPunctuation = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x61d, Hi: 0x61d, Stride: 1}, {Lo: 0x9fd, Hi: 0x9fd, Stride: 1}, {Lo: 0xa76, Hi: 0xa76, Stride: 1},
		{Lo: 0xc77, Hi: 0xc77, Stride: 1}, {Lo: 0xc84, Hi: 0xc84, Stride: 1}, {Lo: 0x1b7d, Hi: 0x1b7e, Stride: 1},
		{Lo: 0x2e43, Hi: 0x2e4f, Stride: 1}, {Lo: 0x2e52, Hi: 0x2e5d, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10ead, Hi: 0x10ead, Stride: 1}, {Lo: 0x10f55, Hi: 0x10f59, Stride: 1}, {Lo: 0x10f86, Hi: 0x10f89, Stride: 1},
		{Lo: 0x1144b, Hi: 0x1144f, Stride: 1}, {Lo: 0x1145a, Hi: 0x1145b, Stride: 1}, {Lo: 0x1145d, Hi: 0x1145d, Stride: 1},
		{Lo: 0x11660, Hi: 0x1166c, Stride: 1}, {Lo: 0x116b9, Hi: 0x116b9, Stride: 1}, {Lo: 0x1183b, Hi: 0x1183b, Stride: 1},
		{Lo: 0x11944, Hi: 0x11946, Stride: 1}, {Lo: 0x119e2, Hi: 0x119e2, Stride: 1}, {Lo: 0x11a3f, Hi: 0x11a46, Stride: 1},
		{Lo: 0x11a9a, Hi: 0x11a9c, Stride: 1}, {Lo: 0x11a9e, Hi: 0x11aa2, Stride: 1}, {Lo: 0x11b00, Hi: 0x11b09, Stride: 1},
		{Lo: 0x11c41, Hi: 0x11c45, Stride: 1}, {Lo: 0x11c70, Hi: 0x11c71, Stride: 1}, {Lo: 0x11ef7, Hi: 0x11ef8, Stride: 1},
		{Lo: 0x11f43, Hi: 0x11f4f, Stride: 1}, {Lo: 0x11fff, Hi: 0x11fff, Stride: 1}, {Lo: 0x12ff1, Hi: 0x12ff2, Stride: 1},
		{Lo: 0x16e97, Hi: 0x16e9a, Stride: 1}, {Lo: 0x16fe2, Hi: 0x16fe2, Stride: 1}, {Lo: 0x1e95e, Hi: 0x1e95f, Stride: 1},
	},
}

// isMark is \p{M}.
func isMark(r rune) bool { return unicode.In(r, unicode.M, newMarks) }
