package l4

// Handing over to another process: the listening sockets. Both processes have them for a while; who of the two accepts is
// agreed elsewhere.

// SessionFormat is the version of the form in which sessions are handed over; 0 = they are not.
const SessionFormat = 0

// Hold accepts no more clients, without closing anything, and returns when none can arrive. Those who come wait in the
// queues of the sockets for the process that has them too, or for Release.
func (p *Plane) Hold() { p.ask((*loop).holdDoors) }

// Release accepts again.
func (p *Plane) Release() { p.ask((*loop).releaseDoors) }

// Forsake closes this process's descriptors of every listening socket that is held. Whoever waits in their queues is the
// other process's, which has them too; so are the files of unix sockets.
func (p *Plane) Forsake() { p.ask((*loop).leaveDoors) }
