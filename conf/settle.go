package conf

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Input is where a configuration is read from.
type Input struct {
	Path    string  // of the main file; it stands for the file in messages
	As      string  // the path that the file is checked for: includes are relative to its directory; "" = Path
	Text    []byte  // the text of the main file, if it has been read already; else nil
	Shared  *Shared // replaces the listeners and clusters of the file; nil = none
	Regular bool    // the main file must be a regular file, so that reading does not block
}

// Files are the files that a configuration was read from, in the versions that were read: the main file, those that it
// includes, and those that its keys name, such as files with passwords.
type Files struct {
	Main     []byte       // the text of the main file
	Included []SourceFile // the included files, in order
	versions []fileVersion
	paths    map[string]bool
}

// fileVersion is the version of a file that was read.
type fileVersion struct {
	path string
	info fs.FileInfo // nil if there was no file
}

// record records the version of a file. The first version of a path counts.
func (f *Files) record(path string, info fs.FileInfo) {
	if f.paths[path] {
		return
	}
	if f.paths == nil {
		f.paths = make(map[string]bool)
	}
	f.paths[path] = true
	f.versions = append(f.versions, fileVersion{path, info})
}

// recordCurrent records the current version of a file.
func (f *Files) recordCurrent(path string) {
	info, err := os.Stat(path)
	if err != nil {
		info = nil
	}
	if info == nil || info.Mode().IsRegular() {
		f.record(path, info)
	}
}

// Changed returns the paths of the files that now have another version, or that are gone.
func (f *Files) Changed() (paths []string) {
	for _, v := range f.versions {
		if info, err := os.Stat(v.path); !sameVersion(v.info, info) && (err == nil || v.info != nil) {
			paths = append(paths, v.path)
		}
	}
	return paths
}

// sameVersion compares two versions of a file; nil = no file.
func sameVersion(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Another program may be writing a file while weir reads it. It may pause, for example between two blocks.
const (
	quietTime  = 200 * time.Millisecond // a file that has not changed for this time is complete
	maxSettle  = 2 * time.Second        // limit of all waits of one configuration
	maxRereads = 20                     // how often a configuration is read again afterwards, if files keep changing
)

// LoadSettled is Load for files that may be written at the same time. It waits until no file is younger than 200 ms, at
// most 2 s in all. If a file changes while the configuration is read, it is read again; after some attempts it is
// rejected. use reads the files that the keys of a configuration name; it may be called several times. LoadSettled
// returns the files that were read, also with an error of the configuration or of use. The end of ctx ends the wait.
func LoadSettled(ctx context.Context, in Input, use func(*Config) error) (*Config, *Files, error) {
	if err := in.readPipe(); err != nil {
		return nil, &Files{}, Errors{{File: in.Path, Msg: errorReason(err).Error()}}
	}
	s := settler{deadline: time.Now().Add(maxSettle), seen: make(map[string]observation)}
	files := &Files{}
	if in.Text == nil {
		files.recordCurrent(in.Path)
	}
	if err := s.wait(ctx, files); err != nil {
		return nil, files, err
	}
	for rereads := 0; ; {
		files = &Files{}
		c, err := in.load(files)
		if err == nil && use != nil {
			for _, path := range c.named {
				files.recordCurrent(path)
			}
			err = use(c)
		}
		s.separate(files)
		changed := files.Changed()
		switch {
		case len(changed) == 0 && (s.remaining(files) <= 0 || s.expired()):
			if err != nil {
				c = nil
			}
			return c, files, err
		case s.expired():
			if rereads++; rereads > maxRereads {
				return nil, files, Errors{{File: changed[0], Msg: fmt.Sprintf("changed while being read, %d times", rereads)}}
			}
			if err := sleep(ctx, rereadPause); err != nil {
				return nil, files, err
			}
		default:
			if err := s.wait(ctx, files); err != nil {
				return nil, files, err
			}
		}
	}
}

// readPipe reads a main file that can be read only once.
func (in *Input) readPipe() error {
	if in.Text != nil || in.Regular {
		return nil
	}
	if info, err := os.Stat(in.Path); err != nil || info.Mode().IsRegular() || info.IsDir() {
		return nil // reported when it is loaded
	}
	text, _, err := newReader().once(in.Path, true)
	in.Text = append([]byte{}, text...) // not nil
	return err
}

// load reads the files once and records their versions.
func (in *Input) load(files *Files) (*Config, error) {
	r := newReader()
	r.files, r.tries = files, 1 // LoadSettled tries again
	text := in.Text
	if text == nil {
		var err error
		if text, err = r.read(in.Path, !in.Regular); err != nil {
			return nil, Errors{{File: in.Path, Msg: err.Error()}}
		}
	}
	files.Main = text
	return parse(in.Path, cmp.Or(in.As, in.Path), text, in.Shared, r, (*decoder).included)
}

// settler waits until files are no longer being written.
type settler struct {
	deadline time.Time
	seen     map[string]observation
}

// observation is a version of a file and when it was first seen, by the monotonic clock.
type observation struct {
	info  fs.FileInfo
	since time.Time
}

// remaining returns the time until no file is younger than quietTime; ≤ 0 if none is. The age of a file is the time
// since its last change or, if the clock says that the change is in the future, the time since it was first seen.
func (s *settler) remaining(files *Files) time.Duration {
	now, longest := time.Now(), time.Duration(0)
	for _, v := range files.versions {
		o, known := s.seen[v.path]
		if !known || !sameVersion(o.info, v.info) {
			o = observation{v.info, now}
			s.seen[v.path] = o
		}
		if v.info == nil {
			continue
		}
		longest = max(longest, quietTime-max(now.Sub(o.since), now.Sub(v.info.ModTime())))
	}
	return longest
}

func (s *settler) expired() bool { return !time.Now().Before(s.deadline) }

// wait waits until the files have not changed for quietTime, or until the deadline.
func (s *settler) wait(ctx context.Context, files *Files) error {
	for {
		current := &Files{}
		for _, v := range files.versions {
			current.recordCurrent(v.path)
		}
		pause := min(s.remaining(current), time.Until(s.deadline))
		if pause <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// separate waits, if a file has just changed, until its next change has another time.
func (s *settler) separate(files *Files) {
	for _, v := range files.versions {
		if v.info != nil {
			if age := time.Since(v.info.ModTime()); age >= 0 && age < clockTick {
				time.Sleep(clockTick)
				return
			}
		}
	}
}

// sleep waits for d or for the end of ctx, and returns its error.
func sleep(ctx context.Context, d time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-limited.Done()
	return ctx.Err()
}
