package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// Link asks for a way into the pages for one person of a company.
type Link struct {
	CompanyID uuid.UUID
	Role      access.Role
	Person    string
	Landing   string        // a path; empty: the first page
	Life      time.Duration // zero: the default
}

// Links mint portal links. The URL is a secret: whoever opens it first is signed in.
type Links interface {
	Mint(ctx context.Context, by access.Caller, link Link) (url string, expires time.Time, err error)
}

// wantedLink is the body that mints a link.
type wantedLink struct {
	CompanyID  string `json:"company_id"`
	Role       string `json:"role"`
	Person     string `json:"person"`
	Landing    string `json:"landing"`
	TTLSeconds int64  `json:"ttl_seconds"`
}

// mintedLink is the answer. A replay of it has no URL: it is not kept.
type mintedLink struct {
	URL       *string   `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
	Withheld  bool      `json:"withheld"` // it was shown in the first answer
}

func (s *server) createLink(r *request) (answer, error) {
	body, err := decode[wantedLink](r)
	if err != nil {
		return answer{}, err
	}
	id, valid := parseUUID(body.CompanyID)
	if !valid {
		return answer{}, unprocessable(field{Field: "company_id", Code: "required", Message: "want the UUID of the person's company"})
	}
	life, err := seconds("ttl_seconds", body.TTLSeconds)
	if err != nil {
		return answer{}, err
	}
	url, expires, err := s.links.Mint(r.Context(), r.caller, Link{
		CompanyID: id, Role: access.Role(body.Role), Person: body.Person, Landing: body.Landing, Life: life,
	})
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: http.StatusCreated, body: mintedLink{URL: &url, ExpiresAt: expires.UTC()},
		kept: mintedLink{ExpiresAt: expires.UTC(), Withheld: true},
	}, nil
}

// seconds keeps a number that no duration can hold from becoming another one.
func seconds(name string, n int64) (time.Duration, error) {
	const most = 10 * 366 * 24 * 3600
	if n < 0 || n > most {
		return 0, unprocessable(field{Field: name, Code: "out_of_range", Message: "want a positive number of seconds, or none"})
	}
	return time.Duration(n) * time.Second, nil
}
