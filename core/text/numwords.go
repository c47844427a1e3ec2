package text

import (
	"math/big"
	"strings"
)

var (
	smallNumbers = [20]string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
		"eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"}
	tensNumbers = [10]string{"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"}
	scaleWords  = [12]string{"", " thousand", " million", " billion", " trillion", " quadrillion", " quintillion",
		" sextillion", " septillion", " octillion", " nonillion", " decillion"}
)

// NumberWords spells an integer in English as Python's inflect
// (engine().number_to_words) does: "one thousand, two hundred and thirty-four",
// "minus three". Groups of three digits above a decillion are out of its range
// and it reports false.
func NumberWords(n *big.Int) (string, bool) {
	if n.Sign() < 0 {
		words, ok := NumberWords(new(big.Int).Neg(n))
		return "minus " + words, ok
	}
	if n.Sign() == 0 {
		return smallNumbers[0], true
	}
	digits := n.String()
	for len(digits)%3 != 0 {
		digits = "0" + digits
	}
	groups := len(digits) / 3
	if groups > len(scaleWords) {
		return "", false
	}
	var parts []string
	for g := range groups {
		value := int(digits[3*g]-'0')*100 + int(digits[3*g+1]-'0')*10 + int(digits[3*g+2]-'0')
		if value == 0 {
			continue
		}
		scale := scaleWords[groups-1-g]
		words := hundredsWords(value)
		// inflect joins a last group below one hundred by "and", not by a comma.
		if scale == "" && value < 100 && len(parts) > 0 {
			return strings.Join(parts, ", ") + " and " + words, true
		}
		parts = append(parts, words+scale)
	}
	return strings.Join(parts, ", "), true
}

// hundredsWords spells 1 to 999.
func hundredsWords(v int) string {
	var b strings.Builder
	if v >= 100 {
		b.WriteString(smallNumbers[v/100] + " hundred")
		if v %= 100; v == 0 {
			return b.String()
		}
		b.WriteString(" and ")
	}
	switch {
	case v < 20:
		b.WriteString(smallNumbers[v])
	default:
		b.WriteString(tensNumbers[v/10])
		if v%10 > 0 {
			b.WriteString("-" + smallNumbers[v%10])
		}
	}
	return b.String()
}
