package checks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretFileEditedByAnyEditor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", "\ufeffsecret\r\n": "secret", "\ufeff": "", "": "", "\n": "",
		"secret\n\n": "secret\n", "secret\r": "secret\r", " secret ": " secret ", "sec\ufeffret": "sec\ufeffret",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := Secret{File: path}.Read()
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", text)
	}
}

// A short password is removed where it is a value of its own, not where it is part of a word.
func TestShortPasswordsAreNotMaskedInsideWords(t *testing.T) {
	for _, c := range []struct{ password, text, want string }{
		{"a", "Access denied for user 'a'@'localhost': a bad password", "Access denied for user '***'@'localhost': a bad password"},
		{"a", `invalid password "a", want aaa`, `invalid password "***", want aaa`},
		{"abc", "abc is wrong, abcd too", "abc is wrong, abcd too"},
		{"pass", "password: pass is wrong, passport_pass, `pass`", "password: *** is wrong, passport_pass, `***`"},
		{"pass", "pass", "***"},
		{"word", "password=word;x", "password=***;x"},
		{"1234", "error 12345 at 1234", "error 12345 at ***"},
		{"röte", "röter röte Abendröte", "röter *** Abendröte"},
		{"hunter2!", "xhunter2!y hunter2!", "x***y ***"},
		{"aaaa", "aaaaa aaaa", "aaaaa ***"},
		{"", "nothing", "nothing"},
	} {
		require.Equal(t, c.want, redact(c.text, c.password), "%q in %q", c.password, c.text)
	}
	require.Equal(t, `reply "***": the password`, redactText(`reply "pass": the password`, []string{"pass"}))
}
