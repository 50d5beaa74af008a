package agentcheck

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func percent(n int) Weight  { return Weight{WeightPercent, n} }
func absolute(n int) Weight { return Weight{WeightAbsolute, n} }

func TestParse(t *testing.T) {
	limit := func(n int) Advice { return Advice{MaxSessions: n, HasMaxSessions: true} }
	for reply, want := range map[string]Advice{
		"up\n":                              {Health: HealthUp, Word: "up"},
		"down\n":                            {Health: HealthDown, Word: "down"},
		"fail\r\n":                          {Health: HealthDown, Word: "fail"},
		"failed\n":                          {Health: HealthDown, Word: "failed"},
		"stopped\r":                         {Health: HealthDown, Word: "stopped"},
		"ready\n":                           {Admin: AdminReady},
		"drain\n":                           {Admin: AdminDrain},
		"maint\n":                           {Admin: AdminMaint},
		"50%\n":                             {Weight: percent(50)},
		"0%\n":                              {Weight: percent(0)},
		"100%\n":                            {Weight: percent(100)},
		"00050%\n":                          {Weight: percent(50)},
		"99999999999999999999999%\n":        {Weight: percent(MaxPercent)},
		"weight:50%\n":                      {Weight: percent(50)},
		"weight:10\n":                       {Weight: absolute(10)},
		"weight:256\n":                      {Weight: absolute(256)},
		"maxconn:5\n":                       limit(5),
		"maxconn:0\n":                       limit(0),
		"75%,maxconn:30,maint,down\n":       {Health: HealthDown, Word: "down", Admin: AdminMaint, Weight: percent(75), MaxSessions: 30, HasMaxSessions: true},
		" \t,, UP ,\tDrain\t 20% ,\n":       {Health: HealthUp, Word: "up", Admin: AdminDrain, Weight: percent(20)},
		"WEIGHT:7 MaxConn:9\n":              {Weight: absolute(7), MaxSessions: 9, HasMaxSessions: true},
		"up down ready maint 1% 2%\n":       {Health: HealthDown, Word: "down", Admin: AdminMaint, Weight: percent(2)},
		"down #disk full, 0% up\n":          {Health: HealthDown, Word: "down", Text: "disk full, 0% up"},
		"drain # up\n":                      {Admin: AdminDrain},
		"down #a\x1b[31mb\x00\xffc\n":       {Health: HealthDown, Word: "down", Text: "a?[31mb??c"},
		"up\n50%\n":                         {Health: HealthUp, Word: "up"},
		"up\r50%\n":                         {Health: HealthUp, Word: "up"},
		"down#disk\n":                       {Unknown: "down#disk"},
		"upgrading\n":                       {Unknown: "upgrading"},
		"setup\n":                           {Unknown: "setup"},
		"download\n":                        {Unknown: "download"},
		"maintenance\n":                     {Unknown: "maintenance"},
		"upstopped\n":                       {Unknown: "upstopped"},
		"stop\n":                            {Unknown: "stop"},
		"what ever 50% up\n":                {Health: HealthUp, Word: "up", Weight: percent(50), Unknown: "what"},
		"50\n":                              {Unknown: "50"},
		"%\n":                               {Unknown: "%"},
		"-5%\n":                             {Unknown: "-5%"},
		"+5%\n":                             {Unknown: "+5%"},
		"5 %\n":                             {Unknown: "5"},
		"50%%\n":                            {Unknown: "50%%"},
		"50%x\n":                            {Unknown: "50%x"},
		"weight:\n":                         {Unknown: "weight:"},
		"weight:257\n":                      {Unknown: "weight:257"},
		"weight:weight:5\n":                 {Unknown: "weight:weight:5"},
		"maxconn:\n":                        {Unknown: "maxconn:"},
		"maxconn:5%\n":                      {Unknown: "maxconn:5%"},
		"maxconn:99999999999999999\n":       {Unknown: "maxconn:99999999999999999"},
		"up\x00\n":                          {Unknown: "up?"},
		strings.Repeat(" ", 16000) + "up\n": {Health: HealthUp, Word: "up"},
		"down #" + strings.Repeat("a", 16000) + "\n": {Health: HealthDown, Word: "down", Text: strings.Repeat("a", 120) + "…"},
		strings.Repeat("a", 16000) + "\n":            {Unknown: strings.Repeat("a", 120) + "…"},
	} {
		got, err := Parse([]byte(reply))
		require.NoErrorf(t, err, "%q", reply)
		require.Equalf(t, want, got, "%q", reply)
	}
}

func TestParseRejects(t *testing.T) {
	for reply, want := range map[string]error{
		"":                                       ErrIncomplete,
		"up":                                     ErrIncomplete,
		"\n":                                     ErrEmpty,
		" ,\t\r\nup\n":                           ErrEmpty,
		"# up\n":                                 ErrEmpty,
		strings.Repeat("a", MaxReply-1):          ErrIncomplete,
		strings.Repeat("a", MaxReply):            ErrTooLong,
		strings.Repeat(" ", MaxReply-2) + "up\n": ErrTooLong,
	} {
		got, err := Parse([]byte(reply))
		require.ErrorIsf(t, err, want, "%q", reply)
		require.Zero(t, got)
	}
}

func TestAdviceHasEffect(t *testing.T) {
	require.False(t, Advice{}.HasEffect())
	require.False(t, Advice{Unknown: "upgrading"}.HasEffect())
	require.True(t, Advice{HasMaxSessions: true}.HasEffect())
	require.True(t, Advice{Weight: percent(0)}.HasEffect())
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"up\n", "down #disk\r\n", "75%,maxconn:30,maint,down\n", "weight:50% ready", "UP\tDrain,\n", "\n", "#", "upgrading\n",
		"maxconn:99999999999999999999\n", "50%%\n", strings.Repeat("x", MaxReply+1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		advice, err := Parse(reply)
		if err != nil {
			if !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrTooLong) && !errors.Is(err, ErrEmpty) {
				t.Fatalf("unknown error %v", err)
			}
			if advice != (Advice{}) {
				t.Fatalf("an error with advice %+v", advice)
			}
			return
		}
		if advice.MaxSessions < 0 || advice.Weight.Value < 0 || advice.Weight.Value > MaxPercent {
			t.Fatalf("out of range: %+v", advice)
		}
		if !utf8.ValidString(advice.Text) || strings.ContainsAny(advice.Text+advice.Unknown, "\r\n\x00\x1b") {
			t.Fatalf("not fit to be shown: %+v", advice)
		}
		// The advice formatted as a line parses to the same advice.
		if advice.Unknown != "" {
			advice.Unknown = ""
			if !advice.HasEffect() {
				return
			}
		}
		again, err := Parse([]byte(advice.String() + "\n"))
		if err != nil && !errors.Is(err, ErrTooLong) {
			t.Fatalf("%q: %v", advice.String(), err)
		}
		if err == nil && again != advice {
			t.Fatalf("%+v became %+v", advice, again)
		}
	})
}

// A FIFO, a device or a directory as the file of an agent is an error, and no reply waits for a writer.
func TestFileReplyOfSpecialFileFails(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for _, path := range []string{fifo, "/dev/zero", t.TempDir()} {
		done := make(chan error, 1)
		go func() {
			_, err := FileReply(path)()
			done <- err
		}()
		select {
		case err := <-done:
			require.ErrorContains(t, err, "not a regular file")
		case <-time.After(10 * time.Second):
			t.Fatalf("the reply waits for %s", path)
		}
	}
}
