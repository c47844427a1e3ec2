package text

import (
	"math/big"
	"reflect"
	"testing"
)

// Wants are ast.literal_eval's of Python 3.11.
func TestParseLiteral(t *testing.T) {
	long, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	for in, want := range map[string]any{
		`['a', "b's", 'c\n']`:            []any{"a", "b's", "c\n"},
		`("x" 'y', 1,)`:                  []any{"xy", int64(1)},
		`(3)`:                            int64(3),
		`[]`:                             []any{},
		`{'k': [1, -2.5, None, True]}`:   Dict{{"k", []any{int64(1), -2.5, nil, true}}},
		`0x1F`:                           int64(31),
		`1_000`:                          int64(1000),
		`1e3`:                            1000.0,
		`'\x41\u00e9\101'`:               "AéA",
		`r'\n'`:                          `\n`,
		`'\q'`:                           `\q`,
		`"""a"b"""`:                      `a"b`,
		"[\n 1,\n 2]":                    []any{int64(1), int64(2)},
		`123456789012345678901234567890`: long,
	} {
		got, ok := ParseLiteral(in)
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v %v, want %#v", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "a", "[1", "[1 2]", "f'x'", "b'x'", "__import__('os')", "1+", "012", "'a", "{1: 2", "nan", "--1", "Truex", "[1] x"} {
		if v, ok := ParseLiteral(in); ok {
			t.Errorf("%q gave %#v", in, v)
		}
	}
	// What repr writes, a literal reads.
	for _, v := range []any{"it's \"x\" \\ \n\t é 😀", []any{int64(1), "a", nil, []any{true}}, Dict{{"a", 1.5}}} {
		if got, ok := ParseLiteral(Repr(v)); !ok || !reflect.DeepEqual(got, v) {
			t.Errorf("%s: %#v", Repr(v), got)
		}
	}
}

func FuzzParseLiteral(f *testing.F) {
	f.Add("[1, 'a', {'b': (2,)}]")
	f.Fuzz(func(t *testing.T, s string) {
		if v, ok := ParseLiteral(s); ok {
			Repr(v)
		}
	})
}
