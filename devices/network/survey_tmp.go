package network

import "context"

func (s *session) survey(ctx context.Context, ep *endpoint) {}
