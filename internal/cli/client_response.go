package cli

// Reading a response within bounds: what answers at the address of the API may not be weir.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
)

// Bounds of a response. The status of ten thousand servers has about 20 MB and 60,000 objects. An object of a few bytes decodes into
// some hundred.
const (
	maxResponse        = 64 << 20
	maxResponseObjects = 400_000
)

// readResponse reads a response of at most limit bytes. It uses at most about twice as much memory.
func readResponse(r io.Reader, limit int) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return text, err
	case len(text) > limit:
		return nil, fmt.Errorf("larger than %d MB", limit>>20)
	case bytes.Count(text, []byte("{")) > maxResponseObjects || bytes.Count(text, []byte(",")) > 10*maxResponseObjects:
		return nil, fmt.Errorf("more than %d objects", maxResponseObjects)
	}
	return text, nil
}

// do sends a request with body as JSON, unless it is nil, decodes the response into out unless that is nil, and returns its text.
func (c *client) do(ctx context.Context, method, path string, body, out any) ([]byte, error) {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	response, err := c.open(ctx, method, path, encoded)
	if err != nil {
		return nil, err
	}
	defer response.Close()
	text, err := readResponse(response, cmp.Or(c.limit, maxResponse))
	text = plainJSON(text)
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if out != nil {
		makePlain(reflect.ValueOf(out))
	}
	if err != nil {
		return nil, ExitError{ExitUnreachable, fmt.Errorf("invalid response from %s: %w", c.address, err)}
	}
	return text, nil
}
