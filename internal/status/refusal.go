package status

// Why says what kind of answer a Refusal is.
type Why uint8

// The kinds of refusals.
const (
	Invalid     Why = iota // what was asked makes no sense
	NotFound               // the thing does not exist
	Conflict               // it makes sense, but not as things are
	Refused                // the request is right, and what it leads to is not: a file with mistakes
	Unavailable            // weir is stopping
)

// Refusal is the error of something that was asked of a running weir and not done.
type Refusal struct {
	Why   Why
	Field string // the part of the request that is at fault; "" = the whole
	Text  string
}

func (r *Refusal) Error() string {
	if r.Field == "" {
		return r.Text
	}
	return r.Field + ": " + r.Text
}
