// Tests in a browser: Chromium, and what tests do with a page.

package cli_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browser starts Chromium without a window, with a profile of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(func() { chromedp.Cancel(ctx); stop() })
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("about:blank")))
	return ctx
}

// css selects elements; a plain string would also be searched in texts.
type css = chromedp.CSS

// tab is a browser tab with the dashboard of an address.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func newTab(t *testing.T, browser context.Context, width, height int64, url string) tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser)
	t.Cleanup(stop)
	p := tab{t, ctx}
	p.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(url))
	return p
}

func (p tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	for i, step := range steps {
		done := make(chan error, 1)
		go func() { done <- chromedp.Do(p.ctx, step) }()
		select {
		case err := <-done:
			require.NoError(p.t, err, "step %d", i)
		case <-time.After(time.Minute):
			require.Fail(p.t, "the browser does not come on", "step %d of %d; the page says: %s", i, len(steps), p.brief())
		}
	}
}

// eval returns the value of an expression.
func (p tab) eval(expression string) any {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](expression))
	require.NoError(p.t, err, expression)
	return v
}

func (p tab) text(selector string) string {
	p.t.Helper()
	s, _ := p.eval(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector)).(string)
	return s
}

// until waits for an expression to be true.
func (p tab) until(expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); p.eval(expression) != true; time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.Fail(p.t, "never true", "%s; the page says: %s", expression, p.brief())
		}
	}
}

// brief returns the beginning of the page's text.
func (p tab) brief() string {
	text := p.text("body")
	return text[:min(len(text), 1500)]
}

func (p tab) says(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text))
}

// login enters a token.
func (p tab) login(token string) {
	p.t.Helper()
	p.until("document.getElementById('login').open")
	p.do(chromedp.SendKeys(css("#token"), token+"\n"))
	p.until("!document.getElementById('login').open")
}

// open opens the dialog about a server.
func (p tab) open(server string) {
	p.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll('#clusters tr.server button')].find(b => b.textContent === %q)", server)
	p.until(find + " !== undefined")
	p.eval(find + ".click()")
	p.until("document.getElementById('server').open && document.querySelector('#layers tbody tr') !== null")
}
