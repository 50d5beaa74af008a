package cli

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func sessionsCommand(flags *clientFlags) *cobra.Command {
	var listener, cluster, server string
	var limit int
	cmd := &cobra.Command{
		Use: "sessions", Short: "List sessions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, value := range map[string]string{"listener": listener, "cluster": cluster, "server": server} {
				if value != "" {
					q.Set(name, value)
				}
			}
			return request(cmd, flags, http.MethodGet, "/v1/sessions?"+q.Encode(), nil, showSessions)
		},
	}
	cmd.Flags().StringVar(&listener, "listener", "", "only sessions of this listener")
	cmd.Flags().StringVar(&cluster, "cluster", "", "only sessions of this cluster")
	cmd.Flags().StringVar(&server, "server", "", "only sessions of this server")
	cmd.Flags().IntVar(&limit, "limit", 1000, "the maximum number of sessions to list")
	completeFilters(cmd, flags)
	return cmd
}

func showSessions(w io.Writer, list []status.Session) {
	slices.SortFunc(list, func(a, b status.Session) int { return cmp.Compare(a.ID, b.ID) })
	t := columns("!ID", "CLIENT", "SERVER", "PHASE", ">UP", ">DOWN", ">AGE")
	for _, s := range list {
		server := s.Cluster
		if s.Server != "" {
			server += "/" + s.Server
		}
		t.row(s.ID, s.Client, server, s.Phase, size(s.BytesUp), size(s.BytesDown), age(s.AgeSeconds))
	}
	t.print(w, "")
}
