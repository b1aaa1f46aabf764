"""Communication between controller, agents and workers: typed messages, protobuf encoding, frames and sockets."""
