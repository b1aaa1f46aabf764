from helpers import log_in
from helpars import log_out
from loadgen import Plan, User, arrivals, jorney


plan = Plan(target="http://127.0.0.1:8080", load=arrivals("1/s").hold("1s"), mix=jorney)
