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
		got, err := Secret{File: path}.read()
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", text)
	}
}
