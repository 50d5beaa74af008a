package cli

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func reloadCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Reload the configuration file", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return request(cmd, flags, http.MethodPost, "/v1/reload", nil, func(w io.Writer, c status.Config) {
				fmt.Fprintf(w, "%s: reloaded\n", c.File)
			})
		},
	}
}
