"""httpx clients: ours with the API of httpx, and the stock client as an oracle."""
