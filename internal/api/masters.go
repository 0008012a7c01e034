package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
)

func (s *server) masterRoutes(a huma.API) {
	type addInput struct {
		Body struct {
			PeerURL string `json:"peer_url" maxLength:"512" doc:"Where the other members reach it, such as https://10.0.0.2:2380"`
		}
	}
	type memberInput struct {
		Member string `path:"member" doc:"The member's name or id"`
	}
	handle(s, a, route{http.MethodGet, "/masters", "list-masters", "List the masters that are alive", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]client.MasterView], error) {
			all, err := s.master.Masters(ctx)
			return &answer[[]client.MasterView]{list(all)}, err
		})
	handle(s, a, route{http.MethodGet, "/members", "list-members", "List the servers of etcd", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]client.Member], error) {
			all, err := s.master.Members(ctx)
			return &answer[[]client.Member]{list(all)}, err
		})
	handle(s, a, route{http.MethodPost, "/members", "add-member", "Tell etcd of a member that is about to start", RoleAdmin},
		func(ctx context.Context, in *addInput) (*answer[*client.Member], error) {
			m, err := s.master.AddMember(ctx, in.Body.PeerURL)
			return &answer[*client.Member]{m}, err
		})
	handle(s, a, route{http.MethodDelete, "/members/{member}", "remove-member", "Take a member out of etcd", RoleAdmin},
		func(ctx context.Context, in *memberInput) (*answer[*client.Member], error) {
			m, err := s.master.RemoveMember(ctx, in.Member)
			return &answer[*client.Member]{m}, err
		})
}
