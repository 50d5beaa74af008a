package cli

// Numbers of bytes, durations and times as text.

import (
	"fmt"
	"time"
)

// size formats a number of bytes in at most five characters.
func size(n uint64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	f := float64(n)
	for _, unit := range "kMGTPE" {
		if f /= 1000; f < 999.5 {
			return fmt.Sprintf("%.3g%c", f, unit)
		}
	}
	return fmt.Sprint(n)
}

// age formats a duration in its two largest units.
func age(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// milliseconds formats a duration in milliseconds with its unit.
func milliseconds(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// moment formats a time, with its date if it is more than 12 hours ago.
func moment(t time.Time) string {
	t = t.Local()
	if time.Since(t) < 12*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}
