"""HTTP/3: requests over QUIC. Needs the extra `http3` (aioquic), so import it only for a plan that asks for HTTP/3."""
