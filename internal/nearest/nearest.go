// Package nearest finds the known word that a mistyped one was meant to be.
package nearest

import (
	"strings"
	"unicode/utf8"
)

// Word gives the option nearest to word by edit distance (insert, delete,
// replace, swap of neighbours; case ignored), or "" when none is near enough
// to be what was meant: at most a third of the longer word, and at least one.
func Word(word string, options []string) string {
	best, bestDist := "", 1<<30
	lower := strings.ToLower(word)
	for _, o := range options {
		lo := strings.ToLower(o)
		d := distance([]rune(lower), []rune(lo))
		if strings.HasPrefix(lo, lower) && len(lower) >= 3 || strings.HasPrefix(lower, lo) && len(lo) >= 3 {
			d = min(d, 1)
		}
		if d < bestDist {
			best, bestDist = o, d
		}
	}
	longest := max(utf8.RuneCountInString(word), utf8.RuneCountInString(best))
	if bestDist > max(1, longest/3) {
		return ""
	}
	return best
}

// distance is the optimal string alignment distance.
func distance(a, b []rune) int {
	if len(a) > 200 || len(b) > 200 {
		return 1 << 20
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
