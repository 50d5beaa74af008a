package cli

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

// upgradeTimeout is longer than the time limit of an upgrade that fails.
const upgradeTimeout = 2 * time.Minute

func upgradeCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "upgrade", Short: "Upgrade to the program on disk", Args: cobra.NoArgs,
		Long: "Starts the program on disk with the same command line, hands sockets, sessions and state over to it, and waits\n" +
			"for the result. If the new process cannot take over, the old one continues unchanged.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			begun := time.Now()
			stop := waiting(cmd, flags, func() string {
				return fmt.Sprintf("upgrading: waiting for the new process, %s of at most %s", time.Since(begun).Round(time.Second), upgradeTimeout)
			})
			defer stop()
			_, err := requestWithin(upgradeTimeout, cmd, flags, http.MethodPost, "/v1/upgrade", nil, func(w io.Writer, u status.Upgrade) {
				stop()
				fmt.Fprintf(w, "upgraded: process %d (weir %s) took over from process %d; %d sessions moved, %d drain in the old process\n",
					u.PID, u.Version, u.Previous, u.Moved, u.Left)
			})
			return err
		},
	}
}
