package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// A reload that moves the log away from a pipe without a reader cannot fail once the new file is open: the line that is
// stuck in the pipe goes to the new file.
func TestLogChangeWhileOldFileIsBlocked(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer reader.Close()
	out, err := openLog(conf.Log{File: pipe, Level: "info"}, nil)
	require.NoError(t, err)
	full := append(bytes.Repeat([]byte("x"), 1<<20), '\n')
	out.Write(full) // more than a pipe holds
	out.Write([]byte("second\n"))
	_, err = reader.Read(make([]byte, 1)) // the writer is in the pipe
	require.NoError(t, err)

	_, err = out.prepare(conf.Log{File: filepath.Join(dir, "none", "file")})
	require.Error(t, err)
	dropped, err := out.prepare(conf.Log{File: file + ".discarded"})
	require.NoError(t, err)
	dropped.discard()
	change, err := out.prepare(conf.Log{File: file, Level: "info"})
	require.NoError(t, err)
	change.commit()
	out.Write([]byte("third\n"))
	out.close()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var got []int
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 2<<20)
	for lines.Scan() {
		got = append(got, len(lines.Text()))
	}
	require.Equal(t, []int{len(full) - 1, len("second"), len("third")}, got)
}

// pieces records what is written.
type pieces [][]byte

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, bytes.Clone(b))
	return len(b), nil
}

// Lines of two processes at one pipe are not mixed: each write is of whole lines, and of at most as many bytes as a pipe takes at
// once unless one line is longer.
func TestPipeGetsWholeLines(t *testing.T) {
	var text []byte
	for n := range 400 {
		text = append(append(text, bytes.Repeat([]byte{'a' + byte(n%26)}, n)...), '\n')
	}
	text = append(append(text, bytes.Repeat([]byte("l"), 3*atomicSize)...), "\nlast\nwithout an end"...)
	var got pieces
	n, err := (&logDestination{Writer: &got, pipe: true}).Write(text)
	require.NoError(t, err)
	require.Equal(t, len(text), n)
	require.Equal(t, text, bytes.Join(got, nil))
	require.Greater(t, len(got), 20)
	for i, piece := range got[:len(got)-1] {
		require.True(t, bytes.HasSuffix(piece, []byte("\n")), i)
		require.True(t, len(piece) <= atomicSize || bytes.Count(piece, []byte("\n")) == 1, i)
	}
	got = nil
	_, err = (&logDestination{Writer: &got}).Write(text)
	require.NoError(t, err)
	require.Len(t, got, 1)

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.True(t, isPipe(w))
	require.False(t, isPipe(&got))
}
