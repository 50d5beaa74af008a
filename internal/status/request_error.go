package status

// Kind says what kind of answer a Refusal is.
type ErrorKind uint8

// The kinds of refusals.
const (
	Invalid       ErrorKind = iota // what was asked makes no sense
	NotFound                       // the thing does not exist
	Conflict                       // it makes sense, but not as things are
	Unprocessable                  // the request is right, and what it leads to is not: a file with mistakes
	Unavailable                    // weir is stopping
)

// RequestError is the error of something that was asked of a running weir and not done.
type RequestError struct {
	Kind  ErrorKind
	Field string // the part of the request that is at fault; "" = the whole
	Text  string
}

func (r *RequestError) Error() string {
	if r.Field == "" {
		return r.Text
	}
	return r.Field + ": " + r.Text
}
