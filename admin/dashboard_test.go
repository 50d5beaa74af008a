package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The files of uPlot are those of the released package.
func TestChartLibraryIsUnchanged(t *testing.T) {
	for file, want := range map[string]string{
		"uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"uplot/uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"uplot/LICENSE":           "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	} {
		sum := sha256.Sum256([]byte(webFile(file)))
		require.Equal(t, want, hex.EncodeToString(sum[:]), file)
	}
	require.Contains(t, webFile("uplot/uPlot.iife.min.js"), "(v1.6.32)")
	require.Contains(t, webFile("uplot/README.md"), "uPlot 1.6.32")
}

// The page contains every file of the scripts and styles, whole, and its policy has the hash of each element.
func TestDashboardPolicyNamesEveryScriptAndStyle(t *testing.T) {
	p := newDashboard()
	html := string(p.html)
	require.NotContains(t, html, "/*uplot")
	for _, tag := range []string{"script", "style"} {
		parts := strings.Split(html, "<"+tag+">")
		require.Len(t, parts, 3, tag)
		for _, part := range parts[1:] {
			text, _, ok := strings.Cut(part, "</"+tag+">")
			require.True(t, ok)
			require.Contains(t, p.policy, tag+"-src")
			require.Contains(t, p.policy, cspHash(text))
		}
	}
	require.NotContains(t, p.policy, "unsafe")
	for _, name := range scriptFiles() {
		for _, unsafe := range []string{"innerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"} {
			require.NotContains(t, webFile(name+".js"), unsafe, name)
		}
	}
}
