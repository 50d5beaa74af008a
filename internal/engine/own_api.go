package engine

// Servers that are weir's own API. Clients of a listener would reach it as clients of this host, past the addresses and tokens that
// guard it. A file of this node may have such a server: its owner has the API anyway. What comes from elsewhere may not.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"weir/conf"
	"weir/internal/status"
)

// refuseOwnAPI returns an error for each server from outside the file that is weir's own API. At the start, names that lead there
// have no address instead: what is in force already must not keep weir from starting.
func (r *reload) refuseOwnAPI() error {
	cfg := r.next.cfg
	var sockets *ownSockets
	var errs []error
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		for j := range c.Levels {
			for k := range c.Levels[j].Servers {
				s := &c.Levels[j].Servers[k]
				if r.next.file.Shared == nil && r.next.overlay.Origin(c.Name, c.LevelName(j), s.Name) != status.OriginAPI {
					continue
				}
				if sockets == nil {
					sockets = ownSocketsOf(&conf.Config{Admin: cfg.Admin, VIPs: cfg.VIPs})
				}
				err := refuseAPISocket(cfg, s.Address.Path)
				for _, at := range r.next.addresses.of(s.Address) {
					if err == nil && at.Addr().IsValid() {
						err = sockets.refuseOwn(at)
					}
				}
				switch {
				case err == nil:
				case r.old.cfg != nil:
					errs = append(errs, fmt.Errorf("server %s/%s: %w", c.Name, s.Name, err))
				case s.Address.Host != "":
					r.next.addresses[s.Address.Host] = nil
					fallthrough
				default:
					r.e.log.Error("a server is the API of this weir", "server", c.Name+"/"+s.Name, "error", err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// refuseAPISocket returns an error if a path is that of a unix socket of the API.
func refuseAPISocket(cfg *conf.Config, path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Stat(path)
	for _, at := range cfg.Admin.Listen {
		same := at.Path != "" && filepath.Clean(at.Path) == filepath.Clean(path)
		if at.Path != "" && err == nil && !same {
			own, statErr := os.Stat(at.Path)
			same = statErr == nil && os.SameFile(own, file)
		}
		if same {
			return fmt.Errorf("unix:%s is the API of weir itself", path)
		}
	}
	return nil
}
