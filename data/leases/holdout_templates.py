"""The hold-out half of the sample leases: its forms, names, places and wording. The training half shares none of it."""

from __future__ import annotations

from wording import Half, Template, listed, ordinal_in_words, roman

INDENTURE = Template(
    name="indenture",
    kinds=("land", "land", "warehouse"),
    landlord="the Grantor",
    tenant="the Grantee",
    premises="the Property",
    number=lambda number: ordinal_in_words(number).upper(),
    wrap=76,
    clause="{n}: {text}",
    text="""
STATE OF {town_caps} ) // ) ss. [ORIGINAL|No. {num}]

[Know all persons by these presents,|This Indenture witnesses] that {lessor}, [a body corporate of {town}|of
{address}], [being the owner in fee and |]hereafter styled the Grantor, [does hereby let and farm out|has let and by
this writing lets] unto {lessee}, [of {address}|whose seat is at {address}], hereafter styled the Grantee, all of
{space} (the Property)[, saving the timber and minerals|, with its fences and gates].

{n}: [?start:[The Grantee's tenure opens on {start}|Possession under this indenture dates from {start}][?end: and
[?exp:is to expire by lapse of time on {end}|the expiration of the lease falls on {end}][!exp:is to last through
{end}|closes on {end}]].][!start:[?end:The Grantee's tenure [?exp:expires by lapse of time on {end}][!exp:closes on
{end}].]][!end: It is renewed by silence from one crop year to the next.]

{n}: There is reserved a rent of {rent_year} for every year[?pay:, which the Grantee must render {pay}]. [A like sum
of {money}, lent on {past}, is not rent and stays owing.|]

[?use:{n}: The Property is to serve for {use}, [nothing further being permitted|and may not be turned to any other
object].]

[?ext:{n}: [Should the Grantee have kept faith, it may claim|The Grantor concedes] {ext}[, such claim to reach the
Grantor {months} early|].]

{fill}

{n}: [Time is of the essence.|These covenants run with the land.] [The bridge agreed with {company} on {past} shall
be finished by the Grantor.|]

[?sign:Given under our hands [this {sign:ordinal}|on {sign}].][!sign:Given under our hands the year and day first
entered in the register.]

(L.S.) {lessor} // (L.S.) {lessee} // [Attest: {person}, {title}|Acknowledged before {person}, {past}]
""",
)

QUESTIONS = Template(
    name="questions",
    kinds=("retail", "office", "retail"),
    landlord="the Proprietor",
    tenant="the Occupier",
    premises="the Unit",
    clause="{head}? // {text}",
    text="""
[YOUR LEASE IN QUESTIONS AND ANSWERS|QUESTIONS ANSWERED BY THIS LEASE|PLAIN LEASE: ITS SCHEDULE OF ANSWERS]

[Each answer below binds both sides.|What is answered here is agreed; what is not answered is left to the law.]

Who is the landlord? // {lessor}[, through {company}, who collect the rents|] ["the Proprietor"|(the Proprietor)]

Who is the occupier? // {lessee}[, of {address}|] ["the Occupier"|(the Occupier)]

What is being let? // {space}

[?start:[When does it start|From which day]? // {start}][!start:Has the opening day been set? // Not yet.]

[When does it stop|Until which day]? // [?end:[?exp:The lease has its expiration on {end}.|Expiry date of the lease:
{end}.][!exp:{end}|On {end} the Unit is handed back.]][!end:No day is set. Either side may give notice of {months}.]

What does it cost? // {rent} a month. [There is a deposit too: {money}.|On top, {money} a year for marketing.]

[?pay:[How is that paid|When is that paid]? // {pay}]

[?use:What may be done there? // {use}]

[?ext:May the Occupier stay longer? // [Yes: |Yes, by asking in time. ]{ext}]

{fill}

[Who vouches for the Occupier? // {person}, up to {money}.|Was the Unit inspected? // Yes, by {company} on
{past}.|]

[?sign:[When was this signed|Date of signature]? // {sign}]

(Proprietor) ...................... // (Occupier) ......................
""",
)

PARTICULARS = Template(
    name="particulars",
    kinds=("warehouse", "office", "warehouse"),
    landlord="the Company",
    tenant="the Hirer",
    premises="the Facility",
    clause="{n}.1  {text}",
    text="""
AGREEMENT FOR THE HIRE OF [BUSINESS SPACE|INDUSTRIAL SPACE]

{n}.1 [Terms printed with an initial capital are explained in Annex 1.|Annex 1 gives the particulars on which
everything rests.] The Company hires out the Facility and the Hirer takes it on hire[, no freehold passing|].

{n}.1 Hire charges are [?pay:to be met {pay}][!pay:those of Annex 1]. [Sums in dispute are lodged with {company}.|]

{n}.1 The hire lasts for the Period in Annex 1[?ext:, and the Hirer may ask once it nears its close for {ext}]. [The
racking has to be certified by {coming}.|The sprinklers were last tested on {past}.]

{fill}

ANNEX 1: [PARTICULARS|THE DETAILS]

The Company: {lessor} // [Its solicitors: {company}|Its registered seat: {address}] // The Hirer: {lessee} //
[Parent of the Hirer: {company}|Site manager: {person}] // The Facility: {space} // [?start:[First day of
hire|Period runs from]: {start} // ][?end:[?exp:[Expiry|Date of expiration]: {end}][!exp:[Last day of hire|Period
runs to]: {end}] // ][!end:Length: rolling, {months} notice // ]Hire charge: {rent} for each month //
[?use:[Activity allowed|Purpose]: {use} // ][Bond: {money}|Excess under the policy: {money}] // [?sign:Agreement
made: {sign}][!sign:Agreement made: (undated)]

For the Company {person} // For the Hirer {person}
""",
)

COLUMNS = Template(
    name="columns",
    kinds=("office", "retail", "warehouse"),
    landlord="Owner",
    tenant="Occupant",
    premises="the Accommodation",
    wrap=100,
    clause="{n}  {head} {text}",
    text="""
{town_caps} BUSINESS CENTRE // OFFICE OF THE OWNER // KEY DATA SHEET TO THE OCCUPATION LEASE Article Entry Details

[?sign:A. Dated (Art. 1) {sign} ][!sign:A. Dated (Art. 1) ]B. Owner (Art. 2) {lessor} [Mail for Owner: {address}|c/o
{company}, {address}] C. Occupant (Art. 2) {lessee} [{address}|Attn. {person}, {title}] D. Space (Art. 3) {space}
[E. Fit-out money {money}|E. Building hours 7 to 19]

F. [?start:Occupation {start} starts: ][!start:Occupation (see handover starts: record) ][?end:[?exp:Lease {end}
expires: |Lease expiry {end} date:][!exp:Occupation {end} stops:|Final {end} day:]][!end:Open-ended, {months}
notice.] G. Monthly {rent} charge: [?pay:Payable {pay} ][!pay:][H. Bank {money} guarantee:|H. Desk {num} quota:]
[?use:J. Business {use} allowed: ][!use:][?ext:K. Prolongation {ext} right: ][!ext:K. Prolongation none right: ]

[Sheet 1 of 2 Initials ____ ____|Page i ref. {num}/{num}/occ]

{n} Letting Owner lets, and Occupant accepts, the Accommodation in entry D on the footing of this sheet[ and of the
house rules dated {past}|].

{fill}

Owner: {person} {title} Occupant: {person} {title}
""",
)

VARIATION = Template(
    name="variation",
    kinds=("amendment",),
    landlord="the Lettor",
    tenant="the Holder",
    premises="the Holding",
    number=lambda number: f"({roman(number).lower()})",
    clause="{n} {text}",
    absent={"pay": 0.4, "use": 0.5, "end": 0.05, "start": 0.1, "exp": 0.3},
    text="""
[DEED OF VARIATION|SUPPLEMENTAL AGREEMENT NO. {small}|MEMORANDUM VARYING A LEASE]

[?sign:[Date of this deed: {sign}|Concluded on {sign}]]

Parties: (i) {lessor}, "the Lettor"[, successor in title to {company}|]; (ii) {lessee}, "the Holder"[, formerly
trading as {company}|]

[The Holder is in possession of|What is held:] {space} ("the Holding") [by virtue of a lease executed {head_date}
("the Head Document")|under the Head Document, which bears the date {head_date}]. [?start:[Its period was reckoned
from {start}|The lessee's occupation commenced {start}].] [The Head Document was varied once already, on {past}.|As
first drawn it would have come to its close on {old_end}.]

The Head Document is now varied like this:

[?end:{n} [?exp:for its date of expiration read {end}|the lease will now expire {end}][!exp:for its closing date
read {end}| the Holder may remain until {end}];]

{n} the monthly rent becomes {rent}[?pay:, to be tendered {pay}], [a premium of {money} having changed
hands|backdated to {past}];

[?use:{n} the Holding may hereafter be put to {use};]

[?ext:{n} the Holder gains the right to {ext};]

{n} [the guarantee of {company} is released|notices to the Lettor go to {address}].

{fill}

Every other word of the Head Document keeps its force.

[Signed as a deed|Executed in two originals] by {person} for the Lettor and {person} for the Holder
""",
)

UNDERLET = Template(
    name="underlet",
    kinds=("sublease",),
    landlord="the Underlessor",
    tenant="the Underlessee",
    premises="the Rooms",
    clause="- {head}: {text}",
    text="""
{person} // {title}, {lessor} // {address}

[?sign:{sign}]

[Underlease of part of our building|Heads of underlease|Underletting, as discussed]

Dear {person}

We refer to your visit of {past}. {lessor} ("the Underlessor") [rents a building from {company}|is itself the tenant
of {company}] [until {head_end}|under a lease granted on {head_date}], and [will let on|is ready to underlet] to
{lessee} ("the Underlessee") the following part of it: {space} ("the Rooms").

- Time: [?start:[occupation as from {start}|the underlease opens on {start}][?end:; [?exp:it will expire on
{end}|expiration on {end}][!exp:it closes on {end}|out by {end}]].][!start:[?end:[?exp:it will expire on
{end}][!exp:it closes on {end}].]][!end: It can be called off by either of us on {months} notice.]

- Money: {rent} monthly[?pay:, [which falls due|payable] {pay}]. [Rates of about {money} come on top.|The superior
rent of {money} is no concern of the Underlessee.]

[?use:- Purpose: {use}[, as {company} insists|].]

[?ext:- Afterwards: should the superior lease be prolonged, {ext} [can be had|is on offer].]

{fill}

[The superior landlord's licence of {past} is enclosed.|We await the licence of {company}.] Once countersigned, this
is binding.

{person} // Accepted for {lessee}: {person}, {title}
""",
)

FAX = Template(
    name="fax",
    kinds=("warehouse", "retail", "land"),
    landlord="OWNER",
    tenant="RENTER",
    premises="THE LOCATION",
    capitals=True,
    scanned=True,
    wrap=66,
    clause="* {head}. {text}",
    text="""
[TELEFAX COPY P. {small}/{small}|MICROFILM ROLL {num} FRAME {num}] // RENTAL CONTRACT

OWNER IS {lessor}[ (AGENT: {company})|]. RENTER IS {lessee}[ (BANK: {company})|]. [?sign:[SIGNED AT {town} ON
{sign}|CONTRACT DAY {sign}].]

* WHAT. OWNER RENTS OUT {space}, IN WHAT FOLLOWS THE LOCATION.

* HOW LONG. [?start:[RENTAL TIME STARTS {start}|FROM {start}][?end:[?exp:, EXPIRY {end}|; EXPIRES {end}][!exp:, LAST
DAY {end}| THROUGH {end}]].][!start:[?end:[?exp:EXPIRY {end}][!exp:LAST DAY {end}].]][!end: OPEN END, CALL-OFF WITH
{months} WARNING.]

* PRICE. {rent} MONTHLY[?pay:, PAYABLE {pay}]. [PREPAID ON {past}: {money}.|]

[?use:* WHAT FOR. {use}[. RENTER KEEPS NO ANIMALS THERE|].]

[?ext:* LONGER. RENTER CAN HAVE {ext}[ WITHOUT NEW TALKS|].]

{fill}

* LAST. [TEXT IN INK WINS OVER TYPE.|CARBON COPY TO {person}.]

OWNER /S/ {lessor} // RENTER /S/ {lessee}
""",
)

PLAIN = Template(
    name="plain",
    kinds=("office", "retail", "office"),
    landlord="the Building Owner",
    tenant="the Customer",
    premises="the Space",
    clause="{head} // {text}",
    text="""
OCCUPANCY TERMS

What this is // [A contract of lease in everyday language.|A lease, written so that it can be read.] The quoted
words are explained at its foot. [Version {small} of {past}.|]

Money // The Customer owes the Building Owner {rent} per month[?pay:. It is settled {pay}]. [Meeting rooms are
billed apart, up to {money}.|Prices were last reviewed on {past}.]

How long // [?start:The Customer may move in on the Opening Day[?end: and moves out by the Closing Day].][!start:The
Building Owner will name the day of moving in.] [?ext:Later on the Customer can ask for {ext}.][!end:There is no
fixed end; a month of warning is enough.]

[?use:Doing business // The Space is meant for {use}[, during all hours|].]

{fill}

Words explained // "Building Owner": {lessor}[, a member of the {company} group|]. // "Customer": {lessee}[,
registered in {town}|]. // "Space": {space}. // [?start:"Opening Day": {start}. // ][?end:[?start:"Closing Day":
{end}[?exp:, the date of expiration of this lease].][!start:"Closing Day": {end}[?exp:, on which this lease
expires].]]

[?sign:[Agreed and signed: {sign}|Signed by both sides, {sign}]]

For the Building Owner, {person} [({title})|] // For the Customer, {person} [({title})|]
""",
)

WHEREAS = Template(
    name="whereas",
    kinds=("office", "warehouse", "retail", "land"),
    landlord="the First Party",
    tenant="the Second Party",
    premises="the Leasehold",
    number=lambda number: f"§ {number}",
    wrap=80,
    clause="{n} ({head}) {text}",
    text="""
CONTRACT OF LEASE

Whereas {lessor} [is the proprietor of|has at its disposal] {space} (the Leasehold); and

whereas {lessee} [wishes to become its tenant|seeks to rent it][, its offer of {past} having been declined|]; and

[whereas {company} stands surety up to {money}; and|whereas {company} holds a pledge of {past}; and|]

whereas the former is the First Party and the latter the Second Party;

now [both covenant|it is covenanted]:

{n} (Duration) [?start:The lease enters into force on {start}[?end: and [?exp:has its expiry on {end}|expires
{end}][!exp:is over on {end}|remains in force to {end}]].][!start:[?end:The lease [?exp:has its expiry on
{end}][!exp:is over on {end}].]][!end: Its duration is left open.]

{n} (Rental) The Second Party owes {rent} each month[?pay:, and settles it {pay}]. [An advance of {money} is set
against it.|]

[?use:{n} (Destination) The Leasehold is destined for {use}[, as the zoning has it|].]

{fill}

[?ext:{n} (Prorogation) [It lies with the Second Party to call for|The Second Party is promised] {ext}.]

{n} (Jurisdiction) [The courts of {town} are competent.|Claims lapse after {months}.]

[?sign:[Done at {town}, {sign}.|Done and delivered on {sign}.]][!sign:Done at {town}.]

The First Party: {person} // The Second Party: {person}, {title}
""",
)

CLAUSES = """
Upkeep | Day-to-day care of {P} falls to {T}; anything that carries weight or keeps out rain falls to {L}. [Boilers
are serviced by {company}.|A list of flaws was drawn up on {past}.]

Building work | Without written leave from {L}, {T} may neither drill, knock through nor rewire. [Leave was given on
{past} for a counter.|Shelving counts as furniture.]

Cover | {^T} must carry a policy for claims by third persons, {money} or more [per case|per loss], and prove it by
sending the papers to {company}[ before {coming}|].

Passing it on | Neither lodgers nor licensees nor a successor are accepted at {P}, save after {L} has said yes on
paper[; companies of one group are free|].

Breach | Should any sum stay open for {days}, or should {T} call its creditors together, {L} can end the arrangement
and [change the locks|let {P} anew].

Post | Letters count as received on the second working day. Those meant for {L} are sent to {company}, {address}[;
e-mail does not suffice|].

Supplies | Meters are read every {month}. What {T} burns or pours away it also pays for[; failures of the network
are nobody's fault|].

Visits | {^L}, or someone it sends, may view {P} when {days} have gone by since it announced itself. [Burst pipes
are the exception.|]

Damage by fire or storm | As far as {P} can then not be used, nothing is owed. {^L} says within {days} whether it
will rebuild[, and has {months} for doing so|].

Rates and duties | Levies on the ground are for {L}, those on the trade for {T}. [The assessment of {past} put the
value at {money}.|]

Lettering | Names may be shown on the board downstairs. [Neon is banned.|Banners need leave.] What is unscrewed at
the end has to be painted over.

Substances | Fuel, gas bottles and acids stay out. [{company} looked for asbestos on {past} and saw none.|]

Peace | No one who draws a right from {L} shall trouble {T} in its possession[, roadworks apart|].

Giving back | Everything fixed to the walls stays, everything loose goes. [{num} keys were counted out.|A last look
round takes place {days} before.]

Lenders | Those who lend on the building come first. [Among them is {company}, by its charge of {past}.|] {^T} will
confirm that in whatever form they ask for.

Common costs | Of heating, lifts and porter {T} bears {pct}; the year is closed every {month}[, and {money} is the
most that may be asked|].

Vehicles | {small} bays are painted with the name of {T}. [The barrier shuts at eight.|Trailers are towed away.]

Quarrels | Both will listen to {person}, an elder of the chamber in {town}, before lawyers are sent for.

Power to sign | The members of {T} voted for this contract on {past}[, and {person} was told to sign|].

Go-betweens | {company} found {T} and is owed {money} by {L} alone.

Price clause | Every {month} the charge follows the cost-of-living figure, counted from {year}, though never by more
than {pct} at a time.

Scaffolding | From {coming} to {later} the front will be cleaned. Light may be poor then, for which {money} is taken
off.

Ground report | Borings by {company} on {past} met with clay[ and an old well|]. Neither side draws claims from
them.

Law-abiding conduct | Whatever permits its business calls for are for {T} to get[, and to show on request|].

If a sentence fails | Should a court strike out one line, all others live on.

Patience | Having been lenient once obliges no one to be lenient again.

Reading aid | Titles only help the eye. He means she, and one means many.

Sale of the building | A buyer takes over all duties of {L} from the day of the land register's entry. [{company}
made an offer on {past}.|]

Deliveries | Lorries come between six and nine. [The ramp bears {small} tonnes.|Pallets may not be left in the
lane.]

Waste | Bins are put out on {weekday}s. Cardboard is collected by {company}[ at {money} a year|].
"""

HOLDOUT = Half(
    name="holdout",
    templates=(INDENTURE, QUESTIONS, PARTICULARS, COLUMNS, VARIATION, UNDERLET, FAX, PLAIN, WHEREAS),
    other_clauses=((0, 1), (0, 2), (1, 3), (2, 4), (4, 8), (6, 12), (24, 30)),
    clauses=CLAUSES.strip().split("\n\n"),
    first_names=listed(
        "Agnes | Bruno | Celia | Duncan | Elsa | Fergus | Hilda | Ivor | Judith | Klaus | Lydia | Magnus | Nora | "
        "Ralph | Sylvia | Tobias"
    ),
    last_names=listed(
        "Ashgrove | Bellingar | Cordwain | Drummet | Elverson | Fairlock | Gorsedale | Hathersey | Inglebord | "
        "Kirkmoor | Longstaff | Marchbank | Northcliff | Ravensby | Stanmere | Thistlewick"
    ),
    company_names=listed(
        "Apex | Bluewater | Cobalt | Delphin | Everline | Falcon | Golden | Hexagon | Indigo | Jasper | "
        "Lighthouse | Meridian | Nordic | Onyx | Pelican | Quantum | Riverstone | Summit | Tamarind | Vanguard"
    ),
    company_trades=listed(
        "Real Estate | Partners | Retail | Freight | Land | Bakeries | Optics | Apparel | Software | Interiors | "
        "Capital | Press | Chemicals"
    ),
    company_forms=("Corp.", "L.L.C.", "PLC", "AG", "Co.", "B.V.", "LP", "Incorporated"),
    streets=listed(
        "Abbey Square | Bridge Street | Castle Hill | Dorset Place | Exchange Street | Ferry Road | Garden Parade "
        "| Hill Crescent | King's Walk | Market Place | Observatory Road | Park Terrace"
    ),
    towns=listed(
        "Aldergate, Kent | Bexcombe, Virginia 22030 | Cawdon, Norfolk | Dunsmore, Illinois 60115 | "
        "Elmsworth, Georgia 30115 | Farleigh Springs, Utah 84037 | Glenmorrow, Perth | "
        "Hartwell Point, Florida 32250 | Isleton, Dublin | Kingsmere, Vermont 05401"
    ),
    spaces={
        "office": (
            "offices {small}A to {small}F, {address}",
            "the entire {nth} storey of the tower at {address}, {area} sq. ft.",
            "approximately {area} square feet in the north wing of {address}",
            "Office Suite {num}, {address}",
        ),
        "retail": (
            "the retail unit known as Store {num}, {address}",
            "kiosk {small} in the shopping gallery at {address}",
            "the corner shop with cellar at {address}",
            "premises of {area} square feet on the ground level of {address}",
        ),
        "warehouse": (
            "Shed {small}, {address}, {area} sq. ft. in all",
            "the cold store and yard at {address}",
            "Building {letter} of the industrial estate at {address}, containing {area} square feet",
            "the factory unit numbered {num} at {address}",
        ),
        "land": (
            "the field of {small} hectares at {address}",
            "Parcel {num}-{letter}, being {small} acres fronting {address}",
            "the vacant ground adjoining {address}, {area} square metres",
            "Tract {letter} of the farm at {address}",
        ),
    },
    uses={
        "office": (
            "ordinary office purposes",
            "an architect's studio",
            "the business of an insurance broker",
            "a call centre and back office",
            "consulting rooms for doctors",
            "the offices of a publishing house",
        ),
        "retail": (
            "selling clothes and hats",
            "a restaurant with a bar",
            "a grocery store",
            "the sale and fitting of spectacles",
            "a jeweller's shop",
            "a laundry and dry cleaner's",
        ),
        "warehouse": (
            "keeping goods in transit",
            "the making and packing of soap",
            "a wholesale market for fruit",
            "printing and bookbinding",
            "storing and mending machines",
            "cold storage of fish",
        ),
        "land": (
            "planting vines",
            "keeping sheep and horses",
            "an open-air market",
            "wind turbines and their cables",
            "a camping ground",
            "extracting sand and gravel",
        ),
    },
    payments=(
        "in advance by the {nth} day of the month",
        "every three months, always in advance",
        "by direct debit on the {nth} of each month",
        "in monthly instalments at the end of each month",
        "yearly, on or before {monthday}",
        "weekly in advance, on {weekday}s",
        "in four equal parts on the usual quarter days",
        "on the first business day of each month, in advance",
        "{small} days after the end of every month, in arrears",
        "twice a year, on {monthday} and {monthday}",
    ),
    extensions=(
        "{count} renewal {period_s} of {years} years",
        "{count} extension{plural_s} of {years} years each",
        "another {years} years",
        "{count} successive {term_s} of {years} years",
        "a prolongation of {years} years",
        "{years} years more",
    ),
    ends=(
        "the eve of the {yearth} anniversary of its start",
        "the end of the {monthth} calendar month of the hire",
        "the date that is {term_months} away from the first day",
        "the last day of the year in which the {yearth} anniversary falls",
    ),
    starts=(
        "the day after the architect certifies the works",
        "the day on which the former tenant moves out",
        "the first Monday after the handover of the keys",
    ),
)
