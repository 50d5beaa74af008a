package privileges

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// User is what a process runs as.
type User struct {
	UID, GID int
	Groups   []int // supplementary
}

// LookupUser finds the user that text names: a name or a number, then optionally a colon and a group, as a name or a
// number. A number without a passwd entry needs a group.
func LookupUser(text string) (User, error) {
	name, group, grouped := strings.Cut(text, ":")
	u := User{GID: -1}
	entry, err := user.Lookup(name)
	if err != nil {
		if entry, err = user.LookupId(name); err != nil {
			if u.UID, err = strconv.Atoi(name); err != nil {
				return u, errors.New("unknown user")
			}
		}
	}
	if entry != nil {
		u.UID, _ = strconv.Atoi(entry.Uid)
		u.GID, _ = strconv.Atoi(entry.Gid)
		ids, err := entry.GroupIds()
		if err != nil {
			return u, err
		}
		for _, id := range ids {
			if n, err := strconv.Atoi(id); err == nil {
				u.Groups = append(u.Groups, n)
			}
		}
	}
	if grouped {
		g, err := user.LookupGroup(group)
		if err == nil {
			group = g.Gid
		}
		if u.GID, err = strconv.Atoi(group); err != nil {
			return u, fmt.Errorf("unknown group %s", group)
		}
	}
	if u.GID < 0 {
		return u, fmt.Errorf("a number without a passwd entry needs a group too, as in \"%s:%[1]s\"", name)
	}
	return u, nil
}

// LookupUID returns the number of a user that text names or gives.
func LookupUID(text string) (int, error) {
	if u, err := user.Lookup(text); err == nil {
		text = u.Uid
	}
	uid, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return -1, fmt.Errorf("unknown user %s", text)
	}
	return int(uid), nil
}

// LookupGID returns the number of a group that text names or gives.
func LookupGID(text string) (int, error) {
	if g, err := user.LookupGroup(text); err == nil {
		text = g.Gid
	}
	gid, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return -1, fmt.Errorf("unknown group %s", text)
	}
	return int(gid), nil
}
