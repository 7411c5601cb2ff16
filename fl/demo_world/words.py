"""The words of the demo world. Order matters: everything is drawn from these lists by a seed."""

VENUE_FIRST = (
    "Amber Ashen Blue Brass Bright Broad Cedar Clear Cobalt Copper Coral Crystal Dapple Dusty "
    "Ebony Fern Flint Frost Gilded Glass Golden Granite Green Grey Hazel Hollow Honey Iron Ivory "
    "Jade Juniper Lemon Linen Little Long Lunar Maple Marble Mint Misty Mossy Noble Oaken Olive "
    "Onyx Opal Pearl Pine Plum Quiet Red Rowan Ruby Rustic Saffron Scarlet Silver Slate Spruce "
    "Steel Sunny Velvet Violet Willow"
).split()
VENUE_SECOND = (
    "Acorn Anchor Anvil Arbor Arch Badger Barn Barrel Basket Bear Beacon Bell Bison Bottle "
    "Bridge Candle Canvas Castle Chimney Compass Crane Crown Dove Drum Eagle Elm Falcon Feather "
    "Ferry Finch Fountain Fox Garden Goose Hare Harp Hawk Heron Hive House Kettle Kite Ladder "
    "Lantern Lark Lion Magpie Mirror Moose Otter Owl Parlour Pebble Quill Raven Robin Sail Shell "
    "Sparrow Stag Swan Table Thistle Tower"
).split()
PLACE_FIRST = (
    "Alder Ash Barrow Beck Birch Brook Calder Carr Clover Dale Dane Eden Elder Ember Falk Garth "
    "Glen Harrow Haven Holm Kelp Kirk Lang Lark Lin Marlow Mere Nor Oster Penn Rook Rush Sand "
    "Selby Stan Thorn Tide Wather Wynd Yar"
).split()
PLACE_SECOND = (
    "Bay Brow Cliff Combe Cross Dock Falls Fell Field Ford Gate Green Head Heath Hill Isle Lake "
    "Moor Point Port Quay Ridge Strand Wells"
).split()
DISTRICT_FIRST = (
    "Upper Lower Old New North South East West Inner Outer High Low Middle Far Near Great".split()
)
DISTRICT_SECOND = (
    "Arcade Bank Basin Borough Canal Circle Common Court Docks Terrace Lanes Market Meadow Parade "
    "Quarter Row Side Square Steps Town Village Wall Ward Wharf"
).split()
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAY_PARTS = ("morning", "noon", "afternoon", "evening", "night")
WEATHERS = ("rain", "sun", "fog", "snow", "wind", "hail", "heat", "cloud")

# Further fields of public cards that only get listed; they make reading a card a general skill.
LISTED_KEYS = (
    "hotel bank garage salon zoo harbour theatre bar school station tailor florist hostel arena "
    "kiosk bath court forge stable charger depot workshop clinic pool office"
).split()

# What differs from place to place and stands on no card: habits.
WAYS = (
    "on foot",
    "by tram",
    "by ferry",
    "by bike",
    "by bus",
    "by scooter",
    "by taxi",
    "by metro",
    "by cable car",
    "by kayak",
)
PAYMENTS = ("in cash", "by card", "on account", "with tokens", "by phone", "with stamps")
NICKNAMES = (
    "den nest hub yard deck loft pit nook cove shed rail bend spot hall plank mill"
).split()

# People: what their names and wishes are made of.
NAME_FIRST = (
    "Ad Al An Ar Bel Ben Bri Cal Car Cor Dan Del Dor Ed El Em Er Fin Flo Gal Gre Han Hel Ir Is Jon "
    "Jul Kar Kat Lar Len Lin Lor Mar Mel Mir Nad Nel Nor Od Ol Or Pet Ral Ren Ros Sal Sam Sel Sil "
    "Tam Tes Tor Ul Val Ver Vin Wal Wil Yas Zel Zor"
).split()
NAME_SECOND = (
    "a an ara as ea el ena er eth ia ian ie ika in ina is ita o on ora us y yn ys"
).split()
# None of them stands in a shorthand's meaning: a small model would go on with that.
WISH_FIRST = "window garden sunny shaded soft firm round wooden back front spare broad".split()
WISH_SECOND = "seat bench stool booth sofa lamp blanket pillow cup bowl tray spot".split()
