"""The training half of the sample leases: its forms, names, places and wording. The hold-out half shares none of it."""

from __future__ import annotations

from wording import Half, Template, in_words, listed, roman

DEED = Template(
    name="deed",
    kinds=("office", "warehouse", "office"),
    landlord="Landlord",
    tenant="Tenant",
    wrap=88,
    clause="{n}. {head}. {text}",
    text="""
[LEASE AGREEMENT|LEASE|AGREEMENT OF LEASE]

THIS [LEASE|LEASE AGREEMENT|AGREEMENT] is made [?sign:this {sign:ordinal}|as of {sign}|and entered into on {sign}]
[!sign:on the date of the later of the two signatures below], between {lessor}, [having an address at|whose
principal office is at] {address} [("Landlord")|(hereinafter "Landlord")], and {lessee}, [having an address at|of]
{address} [("Tenant")|(hereinafter "Tenant")][, joined in by {company} as guarantor ("Guarantor")|].

[WITNESSETH:|IT IS AGREED:|W I T N E S S E T H]

{n}. [Premises|Demise]. Landlord [leases to Tenant|demises and lets to Tenant], and Tenant [hires|takes] from
Landlord, {space} (the "Premises")[, together with the shared use of the entrance hall and the lifts|, as it is
hatched on the drawing marked A|].

{n}. [Term|Duration]. [?end:The term [?start:[commences|begins] on {start}][!start:begins when the keys are handed
over] and [?exp:[expires|shall expire] on {end}][!exp:[ends|shall end|terminates] on {end}], unless it is brought to
a close sooner under this Lease.][!end:The tenancy [?start:[commences|begins] on {start} and ][!start:]runs from
month to month until one party has given the other {months} written notice.]

{n}. Rent. Tenant shall pay [a base rent|rent] of {rent_year} per [year|annum][?pay:, payable {pay}][, without
set-off|]. [A late charge of {pct} applies to any sum that is more than {days} overdue.|]

[?use:{n}. Use. The Premises [shall be used and occupied only for|may be used solely for] {use}[ and for nothing
else|].]

{fill}

[?ext:{n}. [Renewal|Option to extend]. [Provided that no default continues, Tenant may|Tenant shall have the right
to] extend the term for {ext}, by notice given [at least|not later than] {months} beforehand.][!ext:|{n}. Holding
over. Tenant has no option to renew, and any holding over is a tenancy at sufferance.]

[{n}. Deposit. Tenant has today handed to Landlord {money} as security.|{n}. Broker. Both sides dealt with {company}
and with no other broker.]

IN WITNESS WHEREOF the parties have set their hands.

LANDLORD: {lessor} // By: [____________|/s/ {person}] // TENANT: {lessee} // By: [____________|/s/ {person}]
""",
)

LETTER = Template(
    name="letter",
    kinds=("retail", "office", "retail"),
    landlord="the owner",
    tenant="the tenant",
    premises="the premises",
    clause="{head}: {text}",
    text="""
{lessor} // {address}

[?sign:{sign}][!sign:Date: ______________]

[To|For the attention of] {lessee}[, {address}|]

[Re: letting of premises|Our letting to you|Letter of lease]

[Dear Sirs,|Dear {person},|Gentlemen,]

[This letter sets out the terms on which|Once you have countersigned it, this letter is the lease under which]
{lessor} (["we", the owner|as owner, "we"]) lets to {lessee} (["you", the tenant|as tenant, "you"]) {space}. [Our
managing agents, {company}, will remain your first contact.|]

[?start:[The letting starts on {start}|It all begins on {start}][?end: and [?exp:expires on {end}][!exp:runs until
{end}|goes on up to and including {end}]].][!start:[?end:The letting [?exp:expires on {end}][!exp:runs until
{end}].]][!end: It goes on until one of us gives the other {months} notice.] [We hope to have the fitters out by
{coming}, but that day is not promised.|The keys can be had from our agents from {coming}.|]

[The rent is|You pay us a rent of] {rent} a month[?pay:, [due|to be paid] {pay}]. [With your first payment we ask
for a deposit of {money}.|]

[?use:[The premises are to be used for|You may use the premises for] {use}[; ask us first if that is to change|].]

{fill}

[?ext:[If you have kept to these terms you may stay on for|We grant you, if you want them,] {ext}, [so long as you
write to us {months} ahead|at a rent then to be settled].]

[Please sign the copy and return it by {coming}.|If this is agreed, sign below and let us have the copy back within
{days}.]

Yours [faithfully|truly|sincerely], // {person}, for {lessor}

Agreed: // {person}, for {lessee}
""",
)

SUMMARY = Template(
    name="summary",
    kinds=("office", "retail", "office", "warehouse"),
    landlord="Landlord",
    tenant="Tenant",
    wrap=96,
    clause="{n}  {head}. {text}",
    text="""
[BASIC LEASE INFORMATION|SUMMARY OF BASIC LEASE TERMS|LEASE SUMMARY]

[Lease Date|Date of Lease]: [?sign:{sign}][!sign:____________] // Landlord: {lessor} // Landlord's [address|notice
address]: {address} // Tenant: {lessee} // [Guarantor: {company}|Tenant's Broker: {company}|Building Manager:
{company}] // Premises: {space} // [?start:[Commencement Date|Term Commencement Date]: {start} // ][Estimated
Delivery Date: {coming} // |][?end:[?exp:[Expiration Date|Lease expires]: {end}][!exp:[Term ends|End of
Term]: {end}] // ][!end:Length of Term: {term} // ]Base Rent: {rent} per month // [Security Deposit: {money} //
|][?use:Permitted Use: {use} // ][?ext: [Renewal Option|Extension Option]: {ext} // ][!ext:[Renewal Option: none //
|]][Parking: {num} unreserved spaces|Tenant's Share: {pct}]

[TERMS AND CONDITIONS|STANDARD TERMS]

{n} Grant. The sheet above is part of this Lease, and words defined in it have the same sense below. Landlord lets
the Premises to Tenant for the Term[, subject to the mortgage in favour of {company} dated {past}|].

{n} Rent. [?pay:Base Rent is payable {pay}[, at the office of the Building Manager|, without demand].][!pay:Tenant
shall pay Base Rent as the summary states it.] [Rent for part of a month is apportioned by days.|]

{fill}

[{n} Conflict. If the summary and these terms differ, the summary prevails.|{n} Whole agreement. Nothing said before
signature binds either party.]

LANDLORD [____________|/s/ {person}, {title}] // TENANT [____________|/s/ {person}, {title}]
""",
)

FORM = Template(
    name="form",
    kinds=("warehouse", "retail", "land"),
    clause="{n}. {head}. {text}",
    absent={"end": 0.1},
    text="""
[STANDARD FORM OF STORAGE AND INDUSTRIAL TENANCY|COMMERCIAL TENANCY FORM|FORM 7B - TENANCY OF BUSINESS PROPERTY]

[Fill in every box. Boxes left empty count as "none".|To be completed in duplicate.] Form no. {num}-{num}

PART A - PARTIES // Lessor (owner): {lessor} // Address: {address} // Lessee (tenant): {lessee} // [Address:
{address} // Contact: {person}, {title}|Trade register: {num}] // [Lessor's agent: {company}|Insurer of the lessee:
{company}]

PART B - PROPERTY // Property let: {space} // [Meter reading: {num}|Year of construction: {year}|Keys handed over:
{num}]

PART C - TERM // [?start:[Lease starts|Start of tenancy]: {start} // ][?end:[Lease ends|End of tenancy]: {end} //
][!end:Lease ends: // ][?exp:[Expiration of lease|Lease expiration date]: {end} // ][?ext:Extension: {ext} //
][!ext:[Extension: none // |]][Inspection held on: {past}|Waste permit valid to: {coming}]

PART D - MONEY // Rent: {rent} per month // [?pay:How and when payable: {pay} // ][Deposit: {money}|Service charge
on account: {money}]

[?use:PART E - USE // Property to be used for: {use}]

CONDITIONS

{fill}

SIGNED [?sign:on {sign} ][!sign:]by // Lessor ______________ // Lessee ______________ // [Witness: {person}|Clerk's
stamp]
""",
)

AMENDMENT = Template(
    name="amendment",
    kinds=("amendment",),
    landlord="Lessor",
    tenant="Lessee",
    premises="the Leased Premises",
    number=in_words,
    clause="Section {n}. {head}. {text}",
    absent={"pay": 0.4, "use": 0.5, "end": 0.05, "start": 0.1, "exp": 0.3},
    text="""
[FIRST|SECOND|THIRD] AMENDMENT TO LEASE

This [amendment|Amendment] is [?sign:[dated {sign}|entered into as of {sign}|made on {sign}]][!sign:made]
between {lessor} ("Lessor")
and {lessee} ("Lessee").

[Background. |BACKGROUND // ]By a lease dated {head_date} (the "Lease") Lessor [or its predecessor {company} |]let
to Lessee {space} (the "Leased Premises"). [?start:[The term of the Lease began on {start}|The Commencement Date
under the Lease was {start}]. ][The term was to run out on {old_end}.|] [Lessee has since taken over the business of
{company}.|] The parties now wish to change the Lease.

[?end:Section {n}. Term. [?exp:The Expiration Date is changed so that the Lease expires on {end}][!exp:The term is
lengthened so that it ends on {end}|In place of the old date, the term shall end on {end}][, and not
before|].][!end: Section {n}. Name. Lessee's earlier trading name is struck out wherever it stands.]

Section {n}. Rent. From {coming} the [new|base] rent is {rent} a month[?pay:, payable {pay}]. [Arrears of
{money} are written off.|]

[?use:Section {n}. Use. The clause on use is replaced: Lessee may use the Leased Premises for {use}.]

[?ext:Section {n}. Option. Lessee is granted {ext}[, to be exercised {months} ahead|, on the terms of the Lease save
as to rent].]

{fill}

Section {n}. [Ratification|No other change]. [In all else the Lease stands as it is.|Save as changed here, the Lease
remains in force.]

{lessor} // By ____________, {title} // {lessee} // By ____________, {title}
""",
)

SUBLEASE = Template(
    name="sublease",
    kinds=("sublease",),
    landlord="Sublandlord",
    tenant="Subtenant",
    premises="the Subleased Space",
    number=roman,
    wrap=80,
    clause="{n}. {head}. {text}",
    text="""
SUBLEASE

[RECITALS|Recitals]

A. [?sign:This Sublease is [dated as of|made on] {sign}. ][!sign:]{company} ("Prime Landlord") let a building to
{lessor} by a lease of {head_date} (the "Prime Lease"), whose term [runs to {head_end}|ends on {head_end}].

B. {lessor} ([as sublandlord, |]"Sublandlord") [no longer needs all of that building|has space to spare] and wishes
to sublet part of it to {lessee} ([as subtenant, |]"Subtenant"). [Prime Landlord consented on {past}.|]

[AGREEMENT|The parties agree:]

{n}. Subletting. Sublandlord sublets the Subleased Space to Subtenant for the Sublease Term.

{n}. Subrent. Subtenant pays {rent} a month[?pay:, payable {pay}][, and a deposit of {money}|].

[?use:{n}. Use. Subtenant may occupy the Subleased Space for {use}[ and not otherwise|].]

[?ext:{n}. Extension. If the Prime Lease allows it, Subtenant may prolong the Sublease Term for {ext}.][!ext:{n}. No
extension. Subtenant has no right to stay beyond the Sublease Term.|]

{fill}

[DEFINITIONS|{n}. Definitions.]

"Prime Lease" has the sense of recital A. [The rent under it, {money} a year, stays Sublandlord's affair.|]

"Sublease Term" means [?start:the period [that begins|beginning] on {start}[?end: and [?exp:[that expires|expiring]
on {end}][!exp:[that ends|ending] on {end}]][!end: and that goes on until {months} notice is
given]][!start:[?end:the period from the delivery of the keys until [?exp:its expiration on
{end}][!exp:{end}]][!end:a period from month to month]].

"Subleased Space" means {space}.

SUBLANDLORD: {lessor}, by {person} // SUBTENANT: {lessee}, by {person}
""",
)

GROUND = Template(
    name="ground",
    kinds=("land",),
    landlord="the Lessor",
    tenant="the Lessee",
    premises="the Land",
    clause="ARTICLE {n}. {head}. {text}",
    number=roman,
    text="""
[GROUND LEASE|LEASE OF LAND]

Between [the Lessor and the Lessee who are|the parties] named in the Schedule at the end.

ARTICLE {n}. Grant. The Lessor leases the Land to the Lessee for the Term[, free of buildings|, with the right of
way over the farm track|], and the Lessee accepts it as it lies.

ARTICLE {n}. Rent. The Lessee shall pay {rent_year} a year[?pay:, payable {pay}][; the rent goes up by {pct} every
fifth year|].

[?use:ARTICLE {n}. Use of the land. The Land is let for {use}[ only|, and the Lessee shall seek all permits for
that|].]

{fill}

[?ext:ARTICLE {n}. Further term. The Lessee may renew this lease for {ext}[, if no rent is owing at that time|].]

ARTICLE {n}. Buildings. Whatever the Lessee builds remains its own until the Term is over[, and is then to be
cleared within {days}|].

SCHEDULE [OF PARTICULARS|- PARTICULARS]

1. Lessor: {lessor}, {address} // 2. Lessee: {lessee}, {address} // 3. Land: {space} // 4. Term: [?start:from
{start}][!start:from the day of entry][?end:[?exp:; expiration date {end}][!exp: to {end}]][!end: from year to year]
// 5. [Survey completed: {past}|Title insured by {company} on {past}|Soil report: {company}, {past}]

[?sign:[Executed|Signed and sealed] on {sign}.][!sign:Signed by both parties.]

____________ {person}[, {title},|] for the Lessor // ____________ {person}[, {title},|] for the Lessee
""",
)

SCAN = Template(
    name="scan",
    kinds=("retail", "warehouse", "office"),
    landlord="LESSOR",
    tenant="LESSEE",
    premises="THE DEMISED PREMISES",
    capitals=True,
    scanned=True,
    wrap=72,
    clause="{n}) {head} - {text}",
    text="""
[INDENTURE OF LEASE|LEASE] [REC. BOOK {num} PAGE {num}|FILED FOR RECORD NO. {num}]

THIS LEASE[?sign:, DATED {sign},|, MADE THIS {sign:ordinal},] WITNESSES THAT {lessor}, CALLED LESSOR, IN RETURN FOR
THE RENTS BELOW, LETS TO {lessee}, CALLED LESSEE, {space}, CALLED THE DEMISED PREMISES[; LESSOR ACTS BY {person},
ITS ATTORNEY|].

{n}) TERM - [?start:BEGINNING {start}[?end: AND [?exp:EXPIRING|TO EXPIRE ON][!exp:ENDING|ENDING ON] {end}][!end: AND
THEN FROM YEAR TO YEAR].][!start:[?end:TO HOLD UNTIL {end}[?exp:, WHEN THIS LEASE EXPIRES].][!end:TO HOLD FROM MONTH
TO MONTH.]]

{n}) RENT - LESSEE PAYS {rent} EACH MONTH[?pay:, {pay}]. [THE FIRST RENT WAS RECEIVED {past}.|]

[?use:{n}) USE - FOR {use}[, AND NO OTHER TRADE|].]

[?ext:{n}) RENEWAL - LESSEE HAS THE PRIVILEGE OF {ext}[, UPON {days} NOTICE|].]

{fill}

{n}) [RECORDING - EITHER PARTY MAY RECORD THIS LEASE.|COUNTERPARTS - EACH COPY IS AN ORIGINAL.]

LESSOR {lessor} // LESSEE {lessee} // [NOTARY {person}, MY COMMISSION ENDS {coming}|WITNESS {person}]
""",
)

OFFER = Template(
    name="offer",
    kinds=("office", "warehouse", "retail"),
    wrap=84,
    clause="{n}. {head} // {text}",
    text="""
[OFFER TO LEASE AND ACCEPTANCE|AGREEMENT TO LEASE]

{n}. The Landlord and the Tenant // {lessee}[ of {address}|], the Tenant, offers to rent from {lessor}[, represented
by {company}|], the Landlord.

{n}. The Premises // {space}. [The Tenant saw them on {past}.|Measurements are approximate.]

{n}. The Term // [?start:The term begins on {start}[?end: and [?exp:the expiration date is {end}][!exp:ends on
{end}]].] [!start:[?end:[?exp:The expiration date is {end}.][!exp:The term ends on {end}.]]][!end:No closing date is
agreed; {months} notice brings the letting to an end.] [?ext:The Tenant has the right to {ext}[ on like terms|].]

{n}. The Rent // {rent} per month[?pay:, to be paid {pay}]. [The first payment, {money}, is held by {company} in
trust.|]

[?use:{n}. Permitted use // The Premises may be used for {use}.]

{fill}

{n}. [Acceptance|How this becomes a lease] // This offer lapses unless accepted by {coming}.

[?sign:[Accepted and signed on {sign}.|The Landlord accepts. Dated {sign}.]][!sign:Accepted.]

{person}, for the Tenant // {person}, {title}, for the Landlord
""",
)

RENTAL = Template(
    name="rental",
    kinds=("warehouse", "land", "office"),
    landlord="the Owner",
    tenant="the Renter",
    clause="{n}. {text}",
    text="""
RENTAL AGREEMENT

OWNER: {lessor} // RENTER: {lessee} // [?sign:DATE OF AGREEMENT: {sign} // ][AGENT: {company}|FILE NO.: {num}]

{n}. [The Owner rents to the Renter|The Owner hereby lets to the Renter] {space}.

{n}. [?start:The rental period starts on {start}][!start:The rental period starts as soon as the gate is
repaired][?end: [?exp:and its expiration date is {end}][!exp:and finishes on {end}]][!end: and is renewed each month
by payment].

{n}. The rental charge is {rent} a month[?pay:. It is due {pay}]. [A cheque that bounces costs {money}.|]

[?use:{n}. The Renter shall use the property for {use}[ and not live there|].]

[?ext:{n}. When the period is over the Renter may have {ext}[, on {months} notice|].]

{fill}

Owner ____________ Renter ____________ [Witness {person}|]
""",
)

REGISTER = Template(
    name="register",
    kinds=("office", "retail", "warehouse"),
    landlord="the Landlord",
    tenant="the Lessee",
    wrap=90,
    clause="{n}. {head}: {text}",
    text="""
[SCHEDULE OF LEASE DATA|LEASE PARTICULARS] [Page 1 of 3|Print-out of {past}]

No. Item Details // 1 Parties Landlord: {lessor} Lessee: {lessee} [Surety: {company}|Care of: {company}] // 2
Property {space} [Plan no. {num}|Title no. {num}] // [?start:3 Commencement {start} of term ][!start:3 Commencement
to be notified ][?end:[?exp:4 Expiry {end} of lease][!exp:4 End {end} of term]][!end:4 Length {term} of term] // 5
Rent {rent} monthly [?pay:6 Payment {pay} of rent][!pay:6 Deposit {money} held] // [?use:7 Permitted {use}
use][!use:7 Rates {money} estimate] // [?ext:8 Option to {ext} renew][!ext:8 Option to none renew] // [?sign:9 Date
of {sign} lease][!sign:9 Date of - lease]

[CONDITIONS ON WHICH THE PROPERTY IS LET|GENERAL CONDITIONS]

{n}. Letting: The Landlord lets the property in item 2 to the Lessee under the data above.

{fill}

{person} ({title}) // {person} ({title})
""",
)

CLAUSES = """
Repairs | {^T} keeps the inside of {P} in good order[, fair wear excepted|], while {L} sees to the roof[, the
walls|] and the foundations. [Defects are to be reported within {days}.|A joint inspection took place on {past}.]

Alterations | {^T} makes no change to the structure unless {L} agreed to it in writing[, which it may refuse only
for good cause|]. [Partitions that can be taken down are allowed.|Drawings must be handed in {days} before work
begins.]

Insurance | {^T} takes out public liability cover of at least {money} for each event[, with {company}|], and shows a
certificate [every year by {month}|, the first one by {coming}].

Subletting | {^P} may not be passed on, in whole or in part, unless {L} consents[; a change of control counts as
passing on|]. {^T} remains bound beside whoever takes its place.

Default | If rent is unpaid {days} after a reminder, or [a receiver is appointed|a winding-up is applied for], {L}
may re-enter {P} and [claim its loss|bring this letting to a close].

Notices | Notices are in writing and go by registered post to the address given above. A notice to {L} is copied to
{company}, {address}[, for the attention of {person}|].

Utilities | {^T} contracts for electricity, water and [gas|telephone] in its own name. {^L} is not liable if supply
fails[ unless it caused the failure itself|].

Entry | {^L} may come in at reasonable hours, after {days} warning, to look over {P} [or to show it to buyers|and to
read meters]. In an emergency no warning is needed.

Fire | If [fire or flood|fire or an explosion] makes {P} unusable, the rent is suspended for as long as that lasts.
If repairs would take over {months}, either side may withdraw within {days}.

Taxes | Property taxes are borne by {L} up to the level of the year {year}; {T} refunds the excess [in one
sum|against a copy of the bill][, capped at {money}|].

Signs | One sign of up to {num} square feet may be fixed beside the entrance[ at {T}'s cost|]. It is taken down when
{T} leaves[, and the holes are made good|].

Hazardous substances | Nothing that is dangerous in law may be kept in {P}, save cleaning materials in usual
amounts. [A clearance report was issued by {company} on {past}.|]

Quiet enjoyment | So long as it pays and performs, {T} shall hold {P} undisturbed by {L}[ or anyone claiming through
it|].

Surrender | On leaving, {T} hands back {P} swept and empty, with all keys. What is left behind for {days} belongs to
{L}. [Carpets stay.|]

Mortgages | This letting ranks behind any mortgage of the property[, among them that of {company} of {past}|]. {^T}
signs what a lender may reasonably want [within {days}|].

Service charge | {^T} contributes {pct} of the cost of [lighting, cleaning and guarding|heating and guarding] the
common parts, on an account that {L} draws up each {month}.

Parking | {num} places in the yard are kept free for {T}. [Lorries may not stand there overnight.|Charges may be
introduced on {months} notice.]

Disputes | The parties first try to settle any quarrel through {person} of {town}, as mediator. Only then may they
go to court[, in {town}|].

Authority | Each signatory declares that it may bind its party. [The board of {T} approved this letting on
{past}.|The resolution was passed on {past}.]

Brokers | The fee of {company}, {money}, is paid by {L}. Neither side owes anything to any other agent.

Index | The rent follows the consumer price index, base {month} {year}, but rises by no more than {pct} in one year.

Access works | {^L} plans to renew the lifts between {coming} and {later}. {^T} bears with the noise[ and gets
{money} off the rent for it|].

Environmental survey | The survey of {company} shows no contamination[ apart from a disused tank|]. Its cost of
{money} is shared equally.

Compliance | {^T} obeys the rules that apply to its trade, and gets any licence it needs [at its own expense|without
delay].

Partial invalidity | If one of these terms cannot be enforced the others remain, and the gap is closed by what comes
nearest to it. [This holds for gaps as well.|]

Waiver | That {L} once let a breach pass does not mean that it will do so again.

Common areas | {^L} keeps the stairs, corridors and forecourts clean, lit and free of snow. It may close them for
repairs, [for at most {days} a year|after it has put up a notice], and lay down rules that all who rent there have
to follow. Nothing may be left standing in them, not even for a short time.

Indemnity | {^T} answers for harm that it, its staff or its visitors do to others in {P}, and keeps {L} free of
claims for it. {^L} answers in the same manner for its own staff. [Neither owes the other lost profit.|Claims over
{money} are to be reported at once.]

Financial reports | Within {months} of each business year {T} sends its balance sheet to {L}[, certified by
{company}|]. {^L} treats it as confidential, but may show it to a lender or a buyer who has promised the same.

Rebuilding of the block | If {L} wishes to pull down or rebuild the larger part of the building, it may ask {T} to
move to rooms of like size and fit-out in the same block[, on {months} notice|, at the cost of {L}]. {^T} may then
choose to leave instead, and is paid {money} for its removal.

Purchase | Should {L} find a buyer while this letting lasts, it tells {T} the price, and {T} has {days} to match it.
[The price at the last valuation, by {company} on {past}, was {money}.|] A sale within a group of companies does not
count.

Headings | Headings are there for orientation and mean nothing by themselves. The singular includes the plural.

Assignment by the owner | If {L} sells the building, the buyer steps into its place, and {L} is free of what falls
due after the sale. [A sale to {company} is planned for {coming}.|]
"""

TRAIN = Half(
    name="train",
    templates=(DEED, LETTER, SUMMARY, FORM, AMENDMENT, SUBLEASE, GROUND, SCAN, OFFER, RENTAL, REGISTER),
    other_clauses=((0, 0), (0, 1), (1, 2), (1, 3), (3, 6), (5, 9), (22, 31)),
    clauses=CLAUSES.strip().split("\n\n"),
    first_names=listed(
        "Alma | Boris | Clara | Dennis | Edith | Farid | Greta | Hugo | Irene | Jonas | Karin | Leon | Mona | "
        "Nils | Oscar | Petra"
    ),
    last_names=listed(
        "Abernell | Brandvik | Castellow | Dornfeld | Ettrick | Fennimore | Galbrun | Hartsock | Ivesdale | "
        "Jorvald | Kestrow | Lindqvale | Merrowby | Nordhaug | Oakhurl | Penhallon"
    ),
    company_names=listed(
        "Amberline | Birchgate | Copperfold | Dunmere | Eastmoor | Foxhollow | Greystile | Highlark | Ironbridge "
        "| Juniper | Kingsway | Larkspur | Millrace | Northbeam | Orchard | Pinecrest | Quarry | Redfern | "
        "Silverdale | Thornbury"
    ),
    company_trades=listed(
        "Holdings | Properties | Trading | Logistics | Estates | Foods | Instruments | Textiles | Systems | "
        "Furniture | Investments | Media"
    ),
    company_forms=("Inc.", "LLC", "Ltd", "Limited", "Corporation", "GmbH", "L.P.", "Company"),
    streets=listed(
        "Alder Street | Beacon Road | Canal Walk | Dock Lane | Elm Avenue | Foundry Street | Granary Row | "
        "Harbour Road | Juniper Way | Lantern Street | Mill Lane | Orchard Drive"
    ),
    towns=listed(
        "Ashford Falls, Ohio 44001 | Brindle Cove, Maine 04020 | Carrow, Surrey | Denfield, Texas 75110 | "
        "Eastwick, Oregon 97015 | Fallbrook Heights, Iowa 50022 | Garrick, Leeds | Hollin Bay, Washington 98020 | "
        "Ivory Creek, Nevada 89015 | Kelmore, Fife"
    ),
    spaces={
        "office": (
            "Suite {num} on the {nth} floor of the building at {address}, containing {area} rentable square feet",
            "the {nth} floor of {address}, of about {area} square feet",
            "{area} square feet of office space on floor {small} of {address}",
            "rooms {num} and {num} of the office building at {address}",
        ),
        "retail": (
            "the ground floor shop at {address}",
            "Unit {small} of the arcade at {address}, with a floor area of {area} square feet",
            "the store at {address}, together with its basement",
            "shop no. {num}, {address}",
        ),
        "warehouse": (
            "the warehouse at {address}, of approximately {area} square feet",
            "bay {small} of the distribution building at {address}, measuring {area} square feet",
            "Warehouse {letter}, {address}, with {small} loading docks",
            "{area} square feet of storage space at {address}",
        ),
        "land": (
            "the parcel of land at {address}, of {small} acres more or less",
            "Lot {num}, Block {small}, at {address}",
            "{small} acres of pasture lying behind {address}",
            "plot {num} on the north side of {address}",
        ),
    },
    uses={
        "office": (
            "general office use",
            "the offices of an accounting firm",
            "administrative and executive offices",
            "the office of a travel agency",
            "office work and the training of staff",
            "a law office",
        ),
        "retail": (
            "the retail sale of shoes and leather goods",
            "a bakery and coffee shop",
            "a pharmacy",
            "the sale of books and stationery",
            "a hair salon",
            "the retail sale of bicycles and their repair",
        ),
        "warehouse": (
            "the storage and distribution of household goods",
            "warehousing of dry foods",
            "the assembly of electrical parts",
            "light manufacturing and storage",
            "a parcel depot",
            "the storage of building materials",
        ),
        "land": (
            "the growing of crops",
            "grazing cattle",
            "a car park",
            "the building and running of a filling station",
            "a solar power plant",
            "a nursery for trees",
        ),
    },
    payments=(
        "monthly in advance on the first day of each month",
        "in equal monthly instalments, in advance, by the {nth} day of every month",
        "quarterly in advance",
        "on the {nth} day of each month by bank transfer",
        "in twelve equal payments, each due on the last business day of the month",
        "in advance on the first day of every calendar quarter",
        "each month within {small} days of the invoice",
        "half-yearly in arrears on {monthday} and {monthday}",
        "monthly, not later than the {nth} of the month, by standing order",
        "in one sum every year on {monthday}",
    ),
    extensions=(
        "{count} further {term_s} of {years} years",
        "{count} additional {term_s} of {years} years each",
        "a further {years} years",
        "{count} further {period_s} of {years} years",
        "an additional period of {years} years",
        "{years} more years",
    ),
    ends=(
        "the day before the {yearth} anniversary of the Commencement Date",
        "the last day of the {monthth} month after the Commencement Date",
        "the date falling {term} after the day on which the term begins",
        "the last day of the {yearth} lease year",
    ),
    starts=(
        "the day on which the building permit is issued",
        "the date of substantial completion of the fit-out works",
        "the first day of the month after the keys are handed over",
    ),
)
