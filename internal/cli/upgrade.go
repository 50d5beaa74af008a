package cli

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

// upgradeTime is longer than an upgrade may take that comes to nothing.
const upgradeTime = 2 * time.Minute

func upgradeCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "upgrade", Short: "Hand over to the program that is on disk now", Args: cobra.NoArgs,
		Long: "Starts the program that is on disk now with the same command line, hands everything over to it, and waits\n" +
			"for the outcome. If the new process cannot take over, nothing has changed.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := requestWithin(upgradeTime, cmd, flags, http.MethodPost, "/v1/upgrade", nil, func(w io.Writer, u status.Upgrade) {
				fmt.Fprintf(w, "process %d has taken over from %d: weir %s, %d sessions moved, %d end in the old process\n",
					u.PID, u.Previous, u.Version, u.Moved, u.Left)
			})
			return err
		},
	}
}
