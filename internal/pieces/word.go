package pieces

// Word is the length of the first piece of s, which is not empty, by the first
// alternatives of cl100k's pattern,
//
//	'(?i:[sdmt]|ll|ve|re)
//	[^\r\n\p{L}\p{N}]?\p{L}+
//	\p{N}{1,digits}
//	 ?[^\s\p{L}\p{N}]+[\r\n]*
//
// or 0 where s begins with white space that belongs to none of them. unicodeFold
// is Contraction's.
func Word(s string, digits int, unicodeFold bool) int {
	if s[0] == '\'' {
		if n := Contraction(s, unicodeFold); n > 0 {
			return n
		}
	}
	c, n := At(s, 0)
	switch c {
	case Letter:
		return Run(s, n, Letter)
	case Number:
		end := n
		for k := 1; k < digits; k++ {
			c, n := At(s, end)
			if n == 0 || c != Number {
				break
			}
			end += n
		}
		return end
	}
	if s[0] != '\r' && s[0] != '\n' {
		if k, w := At(s, n); w > 0 && k == Letter {
			return Run(s, n+w, Letter)
		}
	}
	at := 0
	if s[0] == ' ' {
		at = 1
	}
	if k, w := At(s, at); w > 0 && k == Other {
		end := Run(s, at+w, Other)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	return 0
}

// Contraction is the length of 's 't 're 've 'm 'll 'd at the start of s,
// whatever their case, or 0. Where folding is Unicode's, ſ (U+017F) is an s.
func Contraction(s string, unicodeFold bool) int {
	if len(s) >= 2 {
		switch s[1] | 0x20 {
		case 's', 't', 'm', 'd':
			return 2
		}
	}
	if len(s) >= 3 {
		if unicodeFold && s[1:3] == "ſ" {
			return 3
		}
		switch string([]byte{s[1] | 0x20, s[2] | 0x20}) {
		case "re", "ve", "ll":
			return 3
		}
	}
	return 0
}
