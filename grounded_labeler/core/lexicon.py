"""The words of English that grammar turns on: short lists, the ending of a word tells the rest."""


def word_set(words: str) -> frozenset[str]:
    """The words of `words`, one blank apart."""
    return frozenset(words.split())


def word_pairs(pairs: str) -> frozenset[tuple[str, ...]]:
    """The pairs of words of `pairs`, a comma apart."""
    return frozenset(tuple(pair.split()) for pair in pairs.split(", "))


ARTICLES = word_set("a an the this that these those his her their its my your our")
QUANTIFIERS = word_set(
    "all any both each either every few half many more most much other another several some "
    "various multiple numerous one two three four five six seven eight nine ten eleven twelve "
    "single double only just lots plenty"
)
# A phrase that begins with one of these is about what is not there.
NEGATORS = word_set(
    "no not non without never none neither nor nothing nobody zero lacking missing absent except "
    "excluding minus w/o sans ohne kein keine keinen keiner nicht pas aucun aucune sin ningún "
    "ninguna senza nessun nessuna sem nenhum nenhuma geen zonder ingen inget utan uden без нет не "
    "bez nie"
)
NEGATIONS_OF = word_set("absence lack devoid free anything everything anyone everyone")
# "No parking sign" is a sign.
SIGNS = word_set("sign symbol zone area logo label")

# What follows one of these says more about the noun before it: "cat with a hat".
PREPOSITIONS = word_set(
    "aboard about above across after against along alongside amid among amongst around as at atop "
    "away before behind below beneath beside besides between beyond but by despite during except "
    "excluding facing featuring for from in including inside into like minus near nearby "
    "next of off on onto opposite out outside over past per regarding showing since through "
    "throughout to toward towards under underneath unlike until up upon via w/ w/o with within "
    "without "
    "that which who whom whose where when while because if than then "
    "con sin de del della di da en sobre avec sur sous dans sans mit ohne auf unter neben im vor "
    "hinter com sem senza zonder met op в на без под"
)
# A place, not a part: of "cat on the table and the dog" the dog is no part of the cat.
LOCATIVES = word_set(
    "above across against along among around at atop behind below beneath beside between by in "
    "inside near next off on onto opposite outside over under underneath"
)
AUXILIARIES = word_set(
    "is are was were be been being am isn't aren't wasn't weren't has have had having "
    "does did could would should cannot seems appears"
)
ENDS_THE_HEAD = ARTICLES | AUXILIARIES | PREPOSITIONS | NEGATORS
CONJUNCTIONS = word_set("and or nor plus")
# Said after a noun with nothing between: "man asleep".
AFTERTHOUGHTS = word_set(
    "asleep awake alone alive ablaze afloat aground ajar abandoned upright upside indoors outdoors "
    "outside inside upstairs downstairs overhead nearby together apart there here somewhere "
    "underwater ahead abroad midair below above online only too also again each everywhere"
)

# No adverbs.
LY_NOUNS = word_set(
    "butterfly dragonfly firefly housefly gadfly mayfly fruitfly horsefly family jelly assembly "
    "supply anomaly monopoly friendly bodily elderly lovely ugly curly woolly trolly"
)

# "A photo of a cat" is a prompt for an image: it means the cat.
PICTURES = word_set(
    "photo photograph picture image pic snapshot shot closeup close-up view screenshot scan frame "
    "drawing sketch painting illustration rendering render portrait depiction example examples "
    "instance sample video footage radiograph x-ray micrograph scene itap"
)
QUANTITIES = word_set(
    "pair piece bunch group set pile stack heap slice bit lot number couple herd flock swarm "
    "school pack crowd row line series cluster collection handful dozen hundred thousand kind type "
    "sort variety chunk lump sheet strip bundle bouquet batch litter colony fleet gang mob plenty "
    "majority rest array assortment range class category breed species clump tuft scrap fragment "
    "specimen instance example member amount ton load loaf clove stalk sprig blade grain drop"
)
# What a person says to a service rather than of a picture: "please find all cats".
REQUEST_VERBS = word_set(
    "find detect show locate segment label mark annotate highlight select identify outline count "
    "get give draw see want need look search"
)
REQUEST_WORDS = REQUEST_VERBS | word_set(
    "please i you can could would like to for me us where is are there"
)

ADJECTIVES = word_set(
    "black white red green blue yellow orange purple pink brown grey gray cyan magenta violet "
    "turquoise teal beige tan maroon navy golden silver gold bronze copper crimson scarlet lime "
    "olive indigo colored coloured colorful colourful multicolored rainbow transparent opaque "
    "dark light bright pale deep vivid dull shiny glossy matte metallic fluorescent reflective "
    "big small large little tiny huge giant gigantic enormous massive mini miniature micro tall "
    "short long wide narrow thick thin fat slim skinny high low shallow deep medium "
    "medium-sized oversized average "
    "old new young ancient antique modern vintage classic fresh used recent elderly adult baby "
    "juvenile newborn teenage middle-aged mature ripe unripe overripe raw rotten stale "
    "round square circular rectangular triangular oval flat curved straight bent pointed sharp "
    "blunt hollow solid striped spotted dotted plaid checkered patterned plain smooth rough fuzzy "
    "fluffy furry hairy curly bald shaggy "
    "wooden metal plastic glass stone brick concrete leather paper cardboard steel iron rubber "
    "ceramic cotton woolen wool silk denim marble aluminum aluminium porcelain wicker woven "
    "knitted "
    "electric electrical electronic digital analog automatic manual solar nuclear "
    "hot cold warm cool wet dry frozen icy snowy rainy sunny cloudy dirty clean dusty muddy rusty "
    "greasy oily broken cracked damaged intact torn worn empty full open closed locked loose tight "
    "soft hard heavy lightweight strong weak fast slow quick quiet loud noisy busy idle active "
    "happy sad angry cute pretty beautiful ugly nice good bad great best worst funny scary cool "
    "lovely adorable handsome fancy cheap expensive rich poor lazy crazy wild tame domestic stray "
    "dead alive sick healthy injured hungry tired sleepy blind pregnant naked barefoot wise "
    "left right upper lower top bottom front back rear middle central inner outer side far near "
    "close distant first second third last next main same different similar identical whole "
    "partial "
    "real fake artificial natural human male female visible hidden blurry blurred cropped "
    "occluded obvious clear low-resolution high-resolution "
    "american british chinese english french german indian italian japanese korean russian spanish "
    "african asian european mexican african-american caucasian hispanic "
    "public private military medical commercial residential industrial urban rural tropical "
    "northern southern eastern western wild local foreign international famous popular common rare "
    "royal holy special normal typical standard regular simple complex separate individual lone "
    "lonely solitary mobile portable stationary static moving unknown certain possible suspicious "
    "dangerous safe toxic organic sweet sour salty bitter spicy creamy crispy juicy edible "
    "vertical horizontal diagonal parallel upright sideways inverted rotated asleep awake "
    "very really quite extremely slightly so too rather fully partly partially nearly almost highly"
)
# These stand for things as well: "shirt orange" may be any of the two.
THINGS_TOO = word_set(
    "orange gold silver bronze copper lime olive glass stone brick concrete leather paper "
    "cardboard steel iron rubber cotton wool silk denim marble adult baby human male female square "
    "light metal plastic oval plaid plain ceramic porcelain wicker top bottom front back side "
    "navy turquoise violet rainbow mini antique classic moving newborn aluminum aluminium "
    "concrete american indian italian german african asian"
)

# Nouns, and hardly ever forms of verbs: "diamond ring", "brick building".
ING_NOUNS = word_set(
    "king ring wing string spring sling thing ping wingding building ceiling railing clothing "
    "bedding icing dumpling duckling gosling earring herring awning lightning pudding stocking "
    "evening morning wedding plumbing wiring siding flooring scaffolding seasoning casing bearing "
    "lemming starling sibling something anything nothing everything viking darling seedling "
    "sapling hatchling fledgling shilling farthing sterling roofing paving molding moulding tubing "
    "piping offspring inning decking furnishing lodging matting netting plating rigging shelving "
    "sitting-room underling upholstering webbing yearling dwelling legging paneling panelling "
    "plaything undercoating vaulting meeting"
)
# Nouns as well as forms of verbs: "oil painting" and "woman painting a wall". No verbs where
# nothing follows that might be their object.
ING_NOUNS_TOO = word_set(
    "painting drawing crossing landing opening fitting marking coating topping filling setting "
    "serving engraving carving etching lighting grating lining padding peeling piercing trimming "
    "swelling cutting dressing stuffing housing packaging wrapping swing sting facing fencing "
    "cladding edging tracing offering parking"
)
# Of these the -ing form is what the noun is for, whatever stands before it.
COMPOUNDS = frozenset(
    " ".join((first, second))
    for first, seconds in {
        "baking": "sheet tray powder dish pan",
        "bathing": "suit",
        "boarding": "pass gate school",
        "boxing": "glove ring gloves",
        "building": "block site brick crane",
        "changing": "table room station",
        "chewing": "gum",
        "climbing": "wall rope shoe frame",
        "cleaning": "lady cloth product",
        "cooking": "pot oil pan stove",
        "cutting": "board tool machine edge",
        "dining": "table room chair car hall",
        "drawing": "board pin room",
        "drinking": "fountain glass straw",
        "driving": "licence license glove",
        "filing": "cabinet",
        "fishing": "rod boat net line pole vessel",
        "flying": "saucer fish fox squirrel",
        "folding": "chair table knife bike",
        "frying": "pan",
        "gaming": "chair mouse console laptop",
        "hiking": "boot shoe trail pole",
        "ironing": "board",
        "knitting": "needle",
        "landing": "gear strip pad",
        "living": "room",
        "loading": "dock bay zone",
        "mailing": "box label",
        "measuring": "tape cup spoon",
        "mixing": "bowl console",
        "moving": "van truck box",
        "parking": "meter lot space garage sign spot ticket brake bay light sensor barrier",
        "playing": "card field",
        "printing": "press machine",
        "racing": "car bike horse helmet bicycle",
        "reading": "lamp glasses room chair",
        "riding": "boot helmet crop horse mower",
        "rocking": "chair horse",
        "rolling": "pin stock suitcase",
        "rowing": "boat machine",
        "running": "shoe track machine watch board",
        "sailing": "boat ship vessel",
        "sliding": "door window",
        "revolving": "door",
        "serving": "tray dish spoon plate",
        "sewing": "machine needle kit",
        "shaving": "cream brush foam",
        "shipping": "container box crate label",
        "shopping": "cart bag trolley basket mall center centre",
        "skating": "rink shoe",
        "sleeping": "bag pad mat",
        "steering": "wheel column",
        "stepping": "stone",
        "stuffing": "box",
        "swimming": "pool suit cap trunk goggles",
        "vending": "machine",
        "waiting": "room area",
        "walking": "stick shoe cane frame boot",
        "warning": "sign light triangle label",
        "washing": "machine powder line",
        "watering": "can",
        "wedding": "dress ring cake",
        "welding": "mask helmet torch machine",
        "wrapping": "paper",
        "writing": "desk pad",
    }.items()
    for second in seconds.split()
)
# These have an object when they come first, too: a "wearing helmet" is no helmet.
TRANSITIVE_FIRST = word_set("wearing holding carrying using")

ED_NOUNS = word_set(
    "bed shed sled seed weed reed moped hundred biped quadruped flatbed seedbed hotbed watershed "
    "woodshed seaweed birdseed thoroughbred infrared feed breed speed red steed deed creed need "
    "bobsled daybed roadbed waterbed flowerbed crossbred purebred aniseed linseed tumbleweed "
    "ragweed duckweed hayseed kindred sacred"
)
# "Snow covered mountain" has left out its hyphen.
ED_ENDS_OF_COMPOUNDS = word_set(
    "covered filled shaped colored coloured made based flavored flavoured coated powered lined "
    "topped painted sized haired legged eyed faced headed skinned tailed winged wheeled handled "
    "footed sleeved branded themed styled infested fried baked roasted grown driven sided bodied "
    "free proof"
)
IRREGULAR_PARTICIPLES = word_set(
    "made built worn torn broken seen held thrown drawn written hung lit cut caught shot left kept "
    "given taken driven ridden eaten hidden frozen swept bent bound laid led lost put set shown "
    "shut stuck strewn tied stood sat known grown flown beaten bitten blown chosen fallen "
    "forgotten "
    "sunk spun split spread stolen struck sold"
)

VERBS = word_set(
    "approach attack bark bathe beat bite block board brush build buy call carry catch chase chew "
    "clean climb close contain control cook cover cross cut dance dig direct drag draw drink drive "
    "drop dry eat embrace enter examine face feed fight fill film fix fly follow grab greet groom "
    "guard guide hang help hit hold hug hunt inspect jump kick kiss lead lean leave lick lie lift "
    "load lower make meet milk move open operate overlap overtake own paddle paint pass pat peel "
    "pet photograph pick plant play point pour pull punch push put raise read repair ride roll row "
    "run sail sell serve shake shear shoot sit skate sleep smell smoke sniff spray stand stroke "
    "support surf surround sweep swim swing take teach tend throw tie touch tow train transport "
    "tug turn use walk wash watch water wave wear weld wipe write "
    "appear bring consume eye get give grip handle have hide juggle keep like love need occupy see "
    "show steal want"
)
PASTS = word_set(
    "ate beat bit bought brought built came caught cut dove drank drew drove fed fought gave got "
    "held hid hit hung kept led left lay made met put ran read rode sat saw sold shook shot slept "
    "stood stole swam swept swung taught threw took tore told towed went wore wrote"
)
# No nouns whatever follows: "dog eats", "man carries".
NEVER_NOUNS = word_set(
    "sits eats sleeps barks swims smiles sings reads lies falls grazes carries holds wears follows "
    "chases enters grabs approaches surrounds contains leans hangs sat ate rode wore threw drove "
    "held caught kept stole swam slept"
)
DIRECTIONS = word_set("north south east west front rear side forward backward outward inward")
# "Pick up truck": the preposition belongs to the verb, and both to the noun.
WITH_UP = word_set("pick stand pop push pin blow close make set grown")
FINITE = frozenset(
    {verb + "s" for verb in VERBS}
    | {verb + "es" for verb in VERBS if verb.endswith(("s", "x", "z", "ch", "sh", "o"))}
    | {verb[:-1] + "ies" for verb in VERBS if verb.endswith("y")}
    | {"has", "rides"}
)
PAST = PASTS | {
    form
    for verb in VERBS
    for form in (
        verb + "d" if verb.endswith("e") else verb + "ed",
        verb + verb[-1] + "ed",
        verb[:-1] + "ied",
    )
}

# One dish, one pair, one thing.
FIXED_PAIRS = word_pairs(
    "mac cheese, macaroni cheese, fish chips, rock roll, bed breakfast, hide seek, peanut jelly, "
    "black decker, yin yang"
)
# Their last word is not what they are.
NOT_THEIR_LAST_WORD = word_pairs(
    "hot dog, corn dog, chili dog, sea lion, sea horse, sea cow, sea star, guinea pig, star fish, "
    "jelly fish, cuttle fish, cray fish, butter fly, dragon fly, fire fly, lady bird, lady bug, "
    "egg plant, pine apple, prairie dog, flying fox, grass hopper, sea cucumber, sea urchin"
)
