"""What people ask for: intents, how they are put short, and what they mean at length.

Ten intents are public: the base models learn them. Six more, and the shorthand, are common to all
private sites and thin at each: what a federation is for. Public text holds the phrases they stand
for, as dictation, but never the short forms.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One thing to ask for. `key` is the card's field that names the open venue."""

    name: str
    key: str
    shorts: tuple[str, ...]
    ask: str  # opening of the enriched prompt; ends with the card's key
    usuals: tuple[str, ...] = ()  # what "the usual" can be; a place has one of them


PUBLIC_INTENTS = (
    Intent(
        name="coffee",
        key="cafe",
        shorts=("coffee", "need a coffee", "where for coffee"),
        ask="Order a coffee at the cafe",
        usuals=("an oat flat white", "a double espresso", "a mocha", "an iced latte"),
    ),
    Intent(
        name="dinner",
        key="restaurant",
        shorts=("dinner", "hungry for dinner", "dinner somewhere"),
        ask="Reserve a table at the restaurant",
        usuals=("the fish stew", "the lentil curry", "the roast plate", "the noodle bowl"),
    ),
    Intent(
        name="bakery",
        key="bakery",
        shorts=("fresh bread", "some bread", "bakery run"),
        ask="Collect bread at the bakery",
        usuals=("a rye loaf", "two rolls", "a plum tart", "a seed twist"),
    ),
    Intent(
        name="museum",
        key="museum",
        shorts=("museum", "see some art", "museum visit"),
        ask="Get tickets at the museum",
    ),
    Intent(
        name="park",
        key="park",
        shorts=("a walk", "walk the dog", "green air"),
        ask="Plan a walk in the park",
    ),
    Intent(
        name="pharmacy",
        key="pharmacy",
        shorts=("pharmacy", "headache pills", "need medicine"),
        ask="Collect medicine at the pharmacy",
    ),
    Intent(
        name="market",
        key="market",
        shorts=("groceries", "fill the fridge", "market run"),
        ask="Pack a box at the market",
    ),
    Intent(
        name="cinema",
        key="cinema",
        shorts=("a film", "movie time", "cinema"),
        ask="Book seats at the cinema",
    ),
    Intent(
        name="gym",
        key="gym",
        shorts=("workout", "gym", "lift weights"),
        ask="Book a slot at the gym",
    ),
    Intent(
        name="library",
        key="library",
        shorts=("a book", "borrow a book", "library"),
        ask="Reserve a desk at the library",
    ),
)

PRIVATE_INTENTS = (
    Intent(
        name="charger",
        key="charger",
        shorts=("juice up", "car is empty", "plug in"),
        ask="Hold a type two bay at the charger",
    ),
    Intent(
        name="parcel",
        key="depot",
        shorts=("send a box", "return the shoes", "post this"),
        ask="Lodge a prepaid parcel at the depot",
    ),
    Intent(
        name="repair",
        key="workshop",
        shorts=("flat tyre", "brakes squeal", "fix my wheel"),
        ask="Ask for a same day repair at the workshop",
    ),
    Intent(
        name="clinic",
        key="clinic",
        shorts=("sore throat", "see a nurse", "kid has fever"),
        ask="Request a walk in nurse at the clinic",
    ),
    Intent(
        name="pool",
        key="pool",
        shorts=("do some laps", "swim", "splash about"),
        ask="Secure a lane and locker at the pool",
    ),
    Intent(
        name="lost",
        key="office",
        shorts=("lost my keys", "where is my bag", "left my coat"),
        ask="File a photo claim at the office",
    ),
)

# Shorthand that people at every private site use; no public text says what it means.
SHORTHAND = (
    ("asap", "within the next quarter hour"),
    ("w kids", "with a high chair ready"),
    ("4ppl", "for a party of four"),
    ("lowkey", "in a quiet corner"),
    ("ez", "without any stairs"),
    ("no fuss", "at the lowest price"),
    ("ttyl", "and confirm it tomorrow"),
    ("vip", "with the host informed"),
)
