"""TCP and UDP without a protocol of ours above them: connections and sockets that `user.tcp` and `user.udp` return."""
