package discovery

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"weir/checks"
	"weir/conf"
)

// repeated removes from answers what the question has sent, because a source may repeat it, and the status is not secret. nil
// removes nothing.
type repeated struct {
	sent    *checks.Redactor // from texts that are only shown
	secrets *checks.Redactor // from addresses and options, which may well be like an argument of the question
}

// repeatedOf returns what a question with a token sends; "" = no token.
func repeatedOf(spec *conf.Discover, token string) *repeated {
	secrets, sent := []string{token}, slices.Clone(spec.Command[min(1, len(spec.Command)):])
	for _, h := range spec.Headers {
		switch {
		case secretHeader(h.Name):
			secrets = append(secrets, h.Value)
		case !strings.EqualFold(h.Name, "Host"):
			sent = append(sent, h.Value)
		}
	}
	if u, err := url.Parse(spec.URL); err == nil {
		password, _ := u.User.Password()
		secrets = append(secrets, password)
		sent = append(sent, u.Path, u.RawQuery)
		for _, values := range u.Query() {
			sent = append(sent, values...)
		}
	}
	return &repeated{checks.NewRedactor(slices.Clone(secrets), sent...), checks.NewRedactor(secrets)}
}

// hostCharacters are those of addresses with a port.
const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:[]%"

// secretHeader reports whether a header usually holds a secret.
func secretHeader(name string) bool {
	name = strings.ToLower(http.CanonicalHeaderKey(name))
	return slices.ContainsFunc([]string{"auth", "token", "key", "secret", "cookie", "pass"}, func(s string) bool { return strings.Contains(name, s) })
}

// remove removes what was sent from an answer and its error. An entry that repeats a secret in its address or an option is a bad
// one.
func (r *repeated) remove(a Answer, err error) (Answer, error) {
	if r == nil || r.sent == nil {
		return a, err
	}
	if err != nil && !errors.Is(err, ErrUnchanged) {
		if text := r.sent.Text(err.Error()); text != err.Error() {
			err = errors.New(text)
		}
	}
	a.Bad = slices.Clone(a.Bad)
	for i := range a.Bad {
		a.Bad[i] = BadEntry{r.sent.Text(a.Bad[i].Entry), r.sent.Text(a.Bad[i].Reason)}
	}
	entries := a.Entries
	a.Entries = make([]Entry, 0, len(entries))
	seen := map[string]string{} // labels are often the same
	text := func(s string) string {
		masked, known := seen[s]
		if !known {
			masked = r.sent.Text(s)
			seen[s] = masked
		}
		return masked
	}
	for _, e := range entries {
		repeats := r.secrets.Text(e.Address) != e.Address
		for name, value := range e.Options {
			of := r.sent
			if name == "name" {
				of = r.secrets
			}
			repeats = repeats || of.Text(value) != value
		}
		if repeats {
			a.Reject(r.sent.Text(e.Address), "it repeats a secret of the question")
			continue
		}
		if strings.Trim(e.Address, hostCharacters) != "" { // it cannot be used, and is only shown
			e.Address = text(e.Address)
		}
		var labels map[string]string
		for name, value := range e.Labels {
			if labels == nil {
				labels = make(map[string]string, len(e.Labels))
			}
			labels[text(name)] = text(value)
		}
		e.Labels = labels
		a.Entries = append(a.Entries, e)
	}
	return a, err
}
