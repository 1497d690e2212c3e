"""What a request costs, stage by stage, beside the calls that today's example makes."""
