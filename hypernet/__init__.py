"""The codec: videos as the weights of tiny networks. No service, no network, no database here."""
