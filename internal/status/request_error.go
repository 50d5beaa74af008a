package status

// ErrorKind classifies a RequestError.
type ErrorKind uint8

// The kinds of request errors.
const (
	Invalid       ErrorKind = iota // the request is malformed
	NotFound                       // no such object
	Conflict                       // conflict with the current state
	Unprocessable                  // the resulting configuration is invalid
	Unavailable                    // weir is stopping
	Forbidden                      // the configuration does not allow it
)

// RequestError is the error of a request to a running weir that was not carried out.
type RequestError struct {
	Kind  ErrorKind
	Field string // the invalid part of the request; "" = the whole
	Text  string
}

func (r *RequestError) Error() string {
	if r.Field == "" {
		return r.Text
	}
	return r.Field + ": " + r.Text
}
