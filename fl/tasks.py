"""What the edge model is adapted to: one base, an adapter for each task.

complete  a short prompt becomes an enriched one: what NetGPT is for
intent    a text becomes an intent with slots        } the by-products of the same edge model
trend     a history of counts becomes the next one   } (NetGPT, section on by-products)
"""

COMPLETE, INTENT, TREND = "complete", "intent", "trend"
TASKS = (COMPLETE, INTENT, TREND)
BY_PRODUCTS = (INTENT, TREND)
