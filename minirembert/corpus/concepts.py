"""What there is to talk about: every concept, its class, and which concepts go together.

A concept is a meaning without a language ("doctor", "to_read", "Madrid_place"). How it is spelled stands in
`lexicon/<language>.tsv`; this file only says what can be said of it:

- nouns stand in classes, and classes in larger classes. The noun named like a class is its members' hypernym:
  a lion is an animal, an apple is a fruit, a fruit is food;
- a verb selects its subject, its object and the places where it happens;
- an adjective selects the nouns it can describe.

A selection is a list of class names and concepts; a leading "-" takes something out again. Inside every list
the order is the frequency rank: the first noun of a class is its most frequent one, the first verb the most
frequent verb.

Not here: how likely one combination is (`sampler.py`), and any word form. Of the world's knowledge there is
only as much as keeps sentences sensible; within a selection the preferences are arbitrary but fixed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# class | the larger class it belongs to ("-": none) | its nouns. A noun with * is a mass noun: no plural, not
# counted.
NOUNS = """
person        -        person
adult         person   doctor teacher mother farmer driver friend cook nurse father patient baker soldier
                       neighbor engineer painter singer writer merchant gardener fisherman lawyer tailor
                       judge guard grandmother pilot hunter king queen
youth         person   student boy girl
animal        -        animal
wild_animal   animal   lion elephant monkey tiger wolf bear fox snake deer eagle
farm_animal   animal   cow horse sheep goat hen pig duck donkey camel
small_animal  animal   dog cat bird fish rabbit mouse frog
food          -        food* fruit vegetable
dish          food     bread* rice* soup* meat* egg cheese* cake salad* chocolate* honey* cookie
fruit         food     apple banana mango orange grape lemon pear
vegetable     food     potato tomato onion carrot pumpkin
drink         -        water* tea* milk* coffee* juice* wine* beer* lemonade* drink
vehicle       -        car bus train bicycle truck boat ship taxi airplane cart tractor motorcycle ambulance
                       vehicle
garment       -        shirt coat shoe skirt jacket dress sweater uniform sandal garment
accessory     -        hat bag watch ring scarf
tool          -        knife phone key computer lamp hammer umbrella spoon basket bucket rope camera brush
                       needle ladder broom shovel axe saw tool
household     -        door table chair window bed cupboard mirror sofa
writing       -        book letter newspaper story poem magazine novel report map ticket contract dictionary
artwork       -        song photo film painting
instrument    -        guitar piano drum violin flute trumpet instrument
plant         -        flower tree rose bush palm tulip pine oak cactus sunflower plant
building      -        house hospital school shop kitchen office restaurant station hotel library bank
                       museum factory airport theater temple castle tower building
outdoors      -        garden market park village forest
"""

# verb | subject | object | where it happens. Without an object the verb is intransitive.
VERBS = """
to_buy         | person | food drink tool vehicle garment accessory writing artwork instrument plant
                 household -report -contract -story -poem -song -door -window -plant | market shop station
                 airport museum
to_eat         | person farm_animal small_animal monkey bear elephant | food | kitchen restaurant garden
                 house park hotel office
to_like        | person | dish fruit drink garment accessory writing artwork instrument plant vehicle
                 building outdoors |
to_drink       | person | drink | restaurant kitchen house hotel garden office station
to_help        | person | person | hospital school office house station village factory
to_read        | person | writing -map -ticket -dictionary | library school office park house garden
to_want        | person | food drink tool vehicle garment accessory writing artwork instrument plant
                 household |
to_sell        | merchant farmer baker fisherman tailor gardener painter cook person_name | food drink tool
                 vehicle garment accessory writing artwork instrument plant household -report -contract
                 -story -poem -song -door -window -plant | market shop station village park
to_look_for    | person | tool accessory writing garment farm_animal small_animal -fish -bird | house school
                 office garden station forest park
to_love        | person | person dog cat horse bird |
to_cook        | person | rice soup meat egg vegetable food | kitchen restaurant hotel house castle
to_wear        | person | garment | office school theater factory temple castle hospital
to_use         | person | tool dictionary map | office school kitchen garden factory library house
to_write       | person | letter book story poem report novel contract song | office library house garden
                 hotel school
to_clean       | person | building household vehicle tool -airport -factory | village castle hotel
to_repair      | person | vehicle household instrument phone computer camera lamp watch umbrella ladder
                 house tower | factory shop garden house station village
to_call        | person | person dog cat horse | office station hotel garden house park
to_feed        | person | farm_animal small_animal elephant monkey bear lion | garden park village forest
                 house
to_drive       | person | car bus train truck taxi tractor ambulance | village forest airport park
to_wash        | person | garment fruit vegetable car bus truck taxi bicycle motorcycle bucket spoon |
                 kitchen house garden village hotel
to_watch       | person cat dog | animal train ship airplane film | park forest garden house airport village
to_visit       | person | museum school temple castle factory hospital market village library garden tower
                 park theater bank |
to_wait_for    | person | person bus train taxi ship airplane letter ambulance | station airport hotel house
                 office park restaurant
to_meet        | person | person | restaurant park market office theater station hotel
to_carry       | person | tool accessory book letter newspaper map painting guitar violin drum trumpet |
                 market station village garden airport factory
to_open        | person | door window cupboard letter bag umbrella book shop | house office hotel
to_close       | person | door window cupboard shop | house office hotel school temple
to_play_music  | person | instrument | theater park school temple restaurant house castle
to_listen_to   | person | song story poem instrument -drum | theater park house school garden hotel
to_teach       | teacher mother grandmother engineer singer painter father person_name | person | school
                 library factory village theater house
to_cut         | person | bread meat cheese cake fruit vegetable | kitchen restaurant market garden
to_build       | person | building boat ship | village forest park
to_protect     | person dog | person animal plant building | village forest castle park garden
to_chase       | small_animal wolf lion tiger fox boy girl monkey -bird -fish -frog | cat mouse rabbit hen
                 duck sheep goat bird deer fox monkey | garden forest park village market
to_praise      | person | person writing artwork -ticket | school theater office restaurant
to_fear        | person farm_animal small_animal -hen | lion tiger wolf bear snake elephant dog eagle |
                 forest village
to_plant       | person | plant | garden park village forest school
to_water       | person | plant vegetable garden | garden park village house
to_greet       | person | person | market school office temple station hotel hospital
to_invite      | person | person | restaurant theater castle office house
to_send        | person | letter book photo map ticket cake painting newspaper contract report garment |
                 station office airport hotel
to_collect     | person | photo book flower map ticket egg newspaper ring apple painting watch rose | forest
                 garden museum school park market
to_examine     | doctor nurse | person farm_animal small_animal | hospital school village office
to_treat       | doctor nurse grandmother | person farm_animal small_animal | hospital village house school
to_ride        | person | horse bicycle motorcycle camel donkey elephant | village park forest garden
to_bake        | baker cook mother grandmother person_name | bread cake cookie potato pumpkin | kitchen
                 restaurant village house
to_sew         | tailor mother grandmother queen girl person_name | shirt coat skirt dress jacket uniform
                 garment hat scarf bag | shop house factory theater
to_guard       | guard soldier dog farmer | bank museum castle factory hotel house tower temple sheep goat
                 cow | village
to_paint       | painter father boy girl neighbor person_name | house school hospital temple tower shop
                 hotel castle | village
to_draw        | painter student boy girl engineer person_name | plant building vehicle map | school museum
                 park garden
to_photograph  | person | wild_animal small_animal plant building king queen singer | park forest museum
                 village
to_study       | student engineer doctor lawyer judge writer person_name | map book report plant contract
                 poem painting | library school office museum
to_translate   | student writer teacher lawyer person_name | book letter poem story novel report contract
                 song | library office school house
to_rent        | person | house car bicycle office boat shop bus truck motorcycle | village station
to_hate        | person | person snake mouse soup beer onion film novel report |
to_catch       | fisherman hunter cat bear eagle snake fox boy girl | fish mouse bird rabbit frog hen duck |
                 garden forest park village
to_hunt        | lion tiger wolf fox bear eagle snake cat hunter king | rabbit deer mouse duck sheep goat
                 bird hen | forest park village
to_steal       | monkey fox mouse cat bird bear dog | fruit bread cheese meat cake egg cookie | kitchen
                 market garden
to_push        | person horse elephant | cart car bicycle table chair cupboard door boat truck sofa bed |
                 garden village house market
to_pull        | horse donkey camel cow person_name boy farmer fisherman | cart boat rope tractor | village
                 forest market garden
to_bite        | dog snake wolf monkey donkey camel horse mouse | person farm_animal cat apple | garden park
                 village forest
to_touch       | person cat monkey | farm_animal small_animal plant instrument garment painting | museum
                 garden park shop
to_work        | adult person_name | | building garden market village
to_sleep       | person animal | | house hotel garden park station hospital forest castle
to_live        | person animal -fish | | house village forest castle hotel tower temple
to_play        | youth dog cat monkey bear person_name | | park garden house school forest village
to_rest        | person animal -fish | | garden park house hotel hospital forest temple
to_sing        | person bird | | theater park temple school garden kitchen restaurant
to_run         | person horse dog deer rabbit cat fox | | park forest garden village market
to_dance       | person | | theater park castle hotel restaurant school
to_swim        | person duck fish frog dog | | hotel park village
to_laugh       | person | | theater school restaurant park house office
to_cry         | person | | hospital house theater school station
to_pray        | person | | temple hospital house garden
to_grow        | plant vegetable | | garden park forest village
"""

# A verb of motion: its object is the goal of the way, so it takes no other place.
MOTION_VERBS = """
to_go          | person | building outdoors place_name -tower
to_return      | person | building outdoors place_name -tower
to_come        | person | building outdoors place_name -tower
to_walk        | person | building outdoors -airport
to_travel      | person | place_name village
"""

# adjective | nouns it can describe
ADJECTIVES = """
new         | vehicle garment accessory tool household writing artwork instrument building
old         | vehicle garment accessory tool household writing artwork instrument building
big         | wild_animal farm_animal small_animal building outdoors vehicle household tool fruit vegetable
              plant bag drum
small       | animal building outdoors vehicle household tool fruit vegetable plant bag drum
young       | adult
elderly     | adult
white       | farm_animal small_animal garment accessory vehicle household flower rose tulip house tower
black       | farm_animal small_animal garment accessory vehicle household bear snake
red         | garment accessory vehicle household flower rose tulip apple bucket umbrella basket lamp
beautiful   | plant building outdoors garment artwork instrument bird ring poem
happy       | person dog
strong      | person wild_animal horse dog cow camel
hungry      | person animal
tired       | person farm_animal dog cat
expensive   | vehicle garment accessory tool household instrument hotel restaurant fruit wine ticket
              painting
cheap       | vehicle garment accessory tool household instrument hotel restaurant fruit vegetable beer
              ticket
blue        | garment accessory vehicle household flower bucket umbrella lamp bird
green       | garment accessory vehicle household apple pear frog snake tea umbrella
fresh       | bread meat egg cheese salad fruit vegetable milk juice
hot         | soup rice bread potato tea coffee milk water drink
cold        | water milk juice beer lemonade soup meat tea salad drink
sweet       | cake cookie chocolate honey fruit tea coffee juice lemonade wine
kind        | person
tall        | person
rich        | adult
poor        | adult
famous      | adult hotel museum theater castle temple writing artwork -ticket -map -contract -dictionary
clever      | person dog cat monkey fox mouse
brave       | person lion tiger dog horse
lazy        | person cat dog donkey bear pig
honest      | adult
sad         | person song film story poem novel letter
wild        | wild_animal duck rabbit horse bird
fat         | farm_animal small_animal bear
fast        | car train ship airplane motorcycle horse dog deer
slow        | vehicle donkey cow camel
brown       | farm_animal small_animal garment accessory household bear
yellow      | garment accessory vehicle flower tulip banana lemon bird
clean       | garment building household car bus spoon knife
dirty       | garment building household vehicle tool -computer
heavy       | tool household instrument bag coat dictionary -needle
long        | letter poem story novel report contract film song rope ladder skirt dress scarf train
interesting | writing artwork museum -ticket
boring      | writing artwork -ticket -map
delicious   | food
sour        | lemon orange grape apple juice mango
ripe        | fruit tomato pumpkin
modern      | building phone computer camera train kitchen
quiet       | building outdoors
broken      | vehicle tool household instrument watch
"""

# A name keeps its spelling in every language that is written in Latin letters: an anchor between languages.
PERSON_NAMES = """
Anna Daniel Sofia Omar Victoria Santiago Elena Ravi Carolina Diego Austin Rosa Georgia Bruno Nancy Amina
Marta Hugo Olga Lourdes
"""
# Eight of them are people's names too, and only the sentence tells: Victoria sings, one sings in Victoria.
PLACE_NAMES = """
Madrid Santiago Victoria Lima Sofia Delhi Nairobi Barcelona Georgia Austin Oslo Carolina Manila Quito Osaka
Nancy Bali Lourdes
"""
# The numerals from n10 on are written in digits, in every language alike.
NUMERALS = "two three four five six seven eight nine n10 n12 n15 n20 n30 n40 n50 n100"
TIMES = """
every_day every_morning every_evening every_night every_week summer winter mondays sundays every_year noon
spring every_month saturdays fridays autumn
"""
RELATIONS = "in near behind in_front_of beside outside around"
CONNECTIVES = "and but because"

# Verbs a "because" can give as a reason ("the farmer buys bread because the boy likes bread").
ATTITUDES = ("to_like", "to_want", "to_love", "to_hate", "to_praise", "to_fear")
# Place names are not stood beside or behind.
PLACE_NAME_RELATIONS = ("in", "near")


@dataclass(frozen=True)
class Concept:
    """One meaning: its key, its kind (a section of the lexicon) and, for nouns and names, its class."""

    key: str
    kind: str
    noun_class: str | None = None
    counted: bool = True


@dataclass(frozen=True)
class VerbFrame:
    """What a verb goes with. `objects` is empty for an intransitive verb, goals for a verb of motion."""

    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    places: tuple[str, ...]
    motion: bool = False


def _rows(table: str) -> Iterator[str]:
    """The rows of a table above; an indented line goes on with the row before it."""
    row = ""
    for line in table.strip().splitlines():
        if line.startswith(" "):
            row += line
        else:
            if row:
                yield row
            row = line
    yield row


def _read_nouns() -> tuple[dict[str, str], dict[str, Concept]]:
    """The class tree (class -> larger class, "-" at the top) and every noun and name, in frequency order."""
    parents = {"person_name": "person", "place_name": "-"}
    nouns = {}
    for row in _rows(NOUNS):
        noun_class, parent, *members = row.split()
        parents[noun_class] = parent
        for member in members:
            key = member.rstrip("*")
            nouns[key] = Concept(key, "noun", noun_class, counted=not member.endswith("*"))
    for name in PERSON_NAMES.split():
        nouns[name] = Concept(name, "person_name", "person_name", counted=False)
    for name in PLACE_NAMES.split():
        # A name that is a person's and a place's is two concepts, told apart by the key.
        nouns[f"{name}_place"] = Concept(f"{name}_place", "place_name", "place_name", counted=False)
    return parents, nouns


CLASS_PARENT, NOUN_CONCEPTS = _read_nouns()


def classes_of(noun: str) -> tuple[str, ...]:
    """The classes a noun or name belongs to, smallest first: lion -> ("wild_animal", "animal")."""
    noun_class = NOUN_CONCEPTS[noun].noun_class or "-"
    found = []
    while noun_class != "-":
        found.append(noun_class)
        noun_class = CLASS_PARENT[noun_class]
    return tuple(found)


def hypernym(noun: str) -> str | None:
    """The noun for the next larger class: lion -> animal, apple -> fruit, Anna -> person, animal -> None."""
    for noun_class in classes_of(noun):
        if noun_class in NOUN_CONCEPTS and noun_class != noun:
            return noun_class
    return None


def is_animate(noun: str) -> bool:
    """Whether the noun is a person or an animal: Spanish and Hindi mark such an object."""
    return bool({"person", "animal"} & set(classes_of(noun)))


def select(selection: str) -> tuple[str, ...]:
    """The nouns a selection stands for, in its order; "animal" is all animals and the noun "animal" too."""
    chosen: dict[str, None] = {}
    for selector in selection.split():
        name = selector.removeprefix("-")
        if name in CLASS_PARENT:
            members = [noun for noun in NOUN_CONCEPTS if name in classes_of(noun)]
        elif name in NOUN_CONCEPTS:
            members = [name]
        else:
            raise ValueError(f"the selection {selection!r} names {name!r}, which is no class and no noun")
        for member in members:
            if selector.startswith("-"):
                chosen.pop(member, None)
            else:
                chosen[member] = None
    return tuple(chosen)


def _read_verbs() -> dict[str, VerbFrame]:
    """Every verb's frame, in frequency order inside each table."""
    frames = {}
    for row in _rows(VERBS):
        verb, subjects, objects, places = (cell.strip() for cell in row.split("|"))
        frames[verb] = VerbFrame(select(subjects), select(objects), select(places))
    for row in _rows(MOTION_VERBS):
        verb, subjects, objects = (cell.strip() for cell in row.split("|"))
        frames[verb] = VerbFrame(select(subjects), select(objects), (), motion=True)
    return frames


VERB_FRAMES = _read_verbs()


def _read_adjectives() -> dict[str, tuple[str, ...]]:
    """Every adjective with the nouns it can describe."""
    described = {}
    for row in _rows(ADJECTIVES):
        adjective, nouns = (cell.strip() for cell in row.split("|"))
        described[adjective] = select(nouns)
    return described


ADJECTIVE_NOUNS = _read_adjectives()


def _all_concepts() -> dict[str, Concept]:
    """Every concept by its key."""
    concepts = dict(NOUN_CONCEPTS)
    others: dict[str, Iterable[str]] = {
        "verb": VERB_FRAMES,
        "adjective": ADJECTIVE_NOUNS,
        "numeral": NUMERALS.split(),
        "time": TIMES.split(),
        "relation": RELATIONS.split(),
        "connective": CONNECTIVES.split(),
    }
    for kind, keys in others.items():
        for key in keys:
            if key in concepts:
                raise ValueError(f"the concept {key!r} is listed twice")
            concepts[key] = Concept(key, kind)
    return concepts


CONCEPTS = _all_concepts()
