package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
)

func sessionCommand(flags *clientFlags) *cobra.Command {
	verbs := []string{"close"}
	return &cobra.Command{
		Use: "session ID close", Short: "Close one session of weir sessions", Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return verbs, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return fmt.Errorf("want the ID of a session (weir sessions lists them), got %q", args[0])
			}
			if args[1] != "close" {
				return unknownAction(args[1], verbs)
			}
			err = done(cmd, flags, http.MethodDelete, path("v1", "sessions", args[0]), fmt.Sprintf("session %d: closed", id),
				map[string]any{"id": id, "closed": true})
			var exit ExitError
			if errors.As(err, &exit) && exit.Code == ExitUsage {
				return ExitError{ExitUsage, fmt.Errorf("session %d: %w; weir sessions lists the IDs", id, exit.Err)}
			}
			return err
		},
	}
}
