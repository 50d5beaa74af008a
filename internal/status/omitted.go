package status

import "slices"

// Omitted are servers of a level that a document leaves out. All are up.
type Omitted struct {
	Servers  int `json:"servers"`
	Sessions int `json:"sessions"` // of these servers, in all levels
}

// OmitUp leaves out the servers that are up, of clusters whose levels have more than most servers.
func (d *Document) OmitUp(most int) {
	for i := range d.Clusters {
		c := &d.Clusters[i]
		servers := 0
		for j := range c.Levels {
			servers += len(c.Levels[j].Servers)
		}
		for j := range c.Levels {
			if servers > most {
				c.Levels[j].omitUp()
			}
		}
	}
}

func (l *Level) omitUp() {
	var up Omitted
	l.Servers = slices.DeleteFunc(l.Servers, func(s Server) bool {
		if s.State != "up" {
			return false
		}
		up.Servers++
		up.Sessions += s.Sessions
		return true
	})
	if up.Servers > 0 {
		l.Omitted = &up
	}
}
