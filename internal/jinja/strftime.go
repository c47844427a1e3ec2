package jinja

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats a time as Python's datetime.strftime does in the C locale.
// A directive that it does not know stays as it is written.
func strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		flag := byte(0)
		if strings.IndexByte("-_0^", format[i]) >= 0 && i+1 < len(format) {
			flag = format[i]
			i++
		}
		out := directive(format[i], t)
		switch {
		case out == "" && format[i] != 'p' && strings.IndexByte("zZ", format[i]) < 0:
			out = "%" + format[i:i+1]
			if flag != 0 {
				out = "%" + string(flag) + format[i:i+1]
			}
		case flag == '-':
			if trimmed := strings.TrimLeft(out, "0 "); trimmed != "" {
				out = trimmed
			} else if strings.TrimLeft(out, "0") == "" {
				out = "0"
			}
		case flag == '_' && out[0] == '0' && len(out) > 1:
			n := strings.TrimLeft(out[:len(out)-1], "0") + out[len(out)-1:]
			out = strings.Repeat(" ", len(out)-len(n)) + n
		case flag == '^':
			out = strings.ToUpper(out)
		}
		b.WriteString(out)
	}
	return b.String()
}

func directive(c byte, t time.Time) string {
	layout := func(l string) string { return t.Format(l) }
	switch c {
	case '%':
		return "%"
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'Y':
		return fmt.Sprint(t.Year())
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100)
	case 'y':
		return layout("06")
	case 'm':
		return layout("01")
	case 'd':
		return layout("02")
	case 'e':
		return layout("_2")
	case 'H':
		return layout("15")
	case 'I':
		return layout("03")
	case 'k':
		return fmt.Sprintf("%2d", t.Hour())
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1)
	case 'M':
		return layout("04")
	case 'S':
		return layout("05")
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 'p':
		return layout("PM")
	case 'P':
		return layout("pm")
	case 'b', 'h':
		return layout("Jan")
	case 'B':
		return layout("January")
	case 'a':
		return layout("Mon")
	case 'A':
		return layout("Monday")
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case 'u':
		return fmt.Sprint((int(t.Weekday())+6)%7 + 1)
	case 'w':
		return fmt.Sprint(int(t.Weekday()))
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-(int(t.Weekday())+6)%7)/7)
	case 'V':
		_, week := t.ISOWeek()
		return fmt.Sprintf("%02d", week)
	case 'G':
		year, _ := t.ISOWeek()
		return fmt.Sprint(year)
	case 'g':
		year, _ := t.ISOWeek()
		return fmt.Sprintf("%02d", year%100)
	case 's':
		return fmt.Sprint(t.Unix())
	case 'D', 'x':
		return layout("01/02/06")
	case 'F':
		return layout("2006-01-02")
	case 'T', 'X':
		return layout("15:04:05")
	case 'R':
		return layout("15:04")
	case 'r':
		return layout("03:04:05 PM")
	case 'c':
		return layout("Mon Jan _2 15:04:05 2006")
	case 'z', 'Z': // a naive datetime has no zone
		return ""
	}
	return ""
}
