package api

import (
	"errors"
	"net/http"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// wantedKey is the body that makes a key.
type wantedKey struct {
	Name       string  `json:"name"`
	CompanyID  *string `json:"company_id"`
	Role       string  `json:"role"`
	TTLSeconds int64   `json:"ttl_seconds"`
}

// madeKey is the answer. A replay of it has no token: it is not kept.
type madeKey struct {
	access.Key

	Token    *string `json:"token"`
	Withheld bool    `json:"withheld"` // it was shown in the first answer
}

func (s *server) listKeys(r *request) (answer, error) {
	p := r.params()
	limit := p.limit()
	if err := p.err(); err != nil {
		return answer{}, err
	}
	after, err := p.cursor()
	if err != nil {
		return answer{}, err
	}
	keys, next, err := s.access.Keys(r.Context(), r.caller, access.Page{After: after, Limit: limit})
	if err != nil {
		return answer{}, err
	}
	return page(keys, idCursor(next))
}

func (s *server) createKey(r *request) (answer, error) {
	body, err := decode[wantedKey](r)
	if err != nil {
		return answer{}, err
	}
	wanted := access.NewKey{Name: body.Name, Role: access.Role(body.Role)}
	if wanted.CompanyID, err = companyField(body.CompanyID); err != nil {
		return answer{}, err
	}
	if wanted.Life, err = seconds("ttl_seconds", body.TTLSeconds); err != nil {
		return answer{}, err
	}
	made, token, err := s.access.CreateKey(r.Context(), r.caller, wanted)
	if err != nil {
		return answer{}, err
	}
	text := token.Reveal()
	return answer{
		status: http.StatusCreated, body: madeKey{Key: made, Token: &text}, kept: madeKey{Key: made, Withheld: true},
	}, nil
}

func (s *server) revokeKey(r *request) (answer, error) {
	id, there := pathUUID(r.Request, "key_id")
	if !there {
		return answer{}, notFound()
	}
	if err := s.access.RevokeKey(r.Context(), r.caller, id); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// ofAccess answers for keys and links that cannot be made or ended.
func ofAccess(err error) *problem {
	if errors.Is(err, access.ErrForbidden) {
		return refusal(http.StatusForbidden, "operators_only", "this is for operators: use the key of one")
	}
	if _, missing := errors.AsType[*access.NotFoundError](err); missing {
		return notFound()
	}
	if invalid, ok := errors.AsType[*access.InvalidError](err); ok {
		p := invalidFields(invalid.Fields)
		for i, f := range p.Fields {
			if f.Field == "ttl" || f.Field == "expires" { // as the command line says it
				p.Fields[i].Field = "ttl_seconds"
			}
		}
		return p
	}
	return nil
}
